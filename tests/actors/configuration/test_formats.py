"""Readers: strict first, then the second try, and each file ends in a known way."""

import json
import string
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.configuration.formats.front_matter import front_matter
from callboard.actors.configuration.formats.json_text import json_lines, json_values
from callboard.actors.configuration.formats.markdown import tool_list
from callboard.actors.configuration.package import ComponentType, Severity
from tests.thoroughness import examples

from .sources import AGENT, codes, judged


def agent(fields: str, body: str = "Do it.\n") -> str:
    return f"---\n{fields}---\n{body}"


@pytest.mark.parametrize(
    ("fields", "rule", "name", "value"),
    [
        ("description: When: always\n", "yaml-unquoted-colon", "description", "When: always"),
        ("tools: *\n", "yaml-alias", "tools", "*"),
        ("argument-hint: [a] [b]\n", "yaml-flow-sequence", "argument-hint", "[a] [b]"),
        ("argument-hint: {a} | {b}\n", "yaml-flow-mapping", "argument-hint", "{a} | {b}"),
        ('description: it\'s: "so"\n', "yaml-unquoted-colon", "description", 'it\'s: "so"'),
    ],
)
def test_the_second_try_quotes_what_is_no_yaml(
    fields: str, rule: str, name: str, value: str
) -> None:
    read = front_matter(f"---\nname: one\n{fields}---\nbody\n")
    assert read.is_repaired
    assert read.rule == rule
    assert read.fields == {"name": "one", name: value}
    assert read.line == 3


def test_what_the_second_try_cannot_mend_keeps_its_plain_fields() -> None:
    read = front_matter("---\nname: one\ndescription: a: b\n  more: of it\n tools: x\n---\n")
    assert not read.is_repaired
    assert read.fields["name"] == "one"
    assert "description" not in read.fields


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("# A text\n", "no-front-matter"),
        (" ---\nname: a\n---\n", "no-front-matter"),
        ("---\nname: a\n", "unclosed-front-matter"),
        ("---\nname: a\nname: b\n---\n", "yaml-repeated-key"),
        ("---\n- a\n---\n", "yaml-invalid"),
        ("---\nx: !!python/object/apply:os.system ['true']\n---\n", "yaml-invalid"),
    ],
)
def test_what_is_wrong_has_a_rule(text: str, rule: str) -> None:
    assert front_matter(text).rule == rule


# For PyYAML's own parser a single `!` is nothing, for libyaml an empty text.
SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
plain_texts = st.text(string.ascii_letters + string.digits + " ,.'\"-:#[]{}*&!|>@`%\\", max_size=40)


@settings(max_examples=examples(400))
@given(st.dictionaries(st.sampled_from(["name", "description", "tools", "x"]), plain_texts))
def test_the_second_try_changes_nothing_that_reads_strictly(values: dict[str, str]) -> None:
    block = "".join(f"{name}: {value}\n" for name, value in values.items())
    read = front_matter(f"---\n{block}---\n")
    if not read.rule:
        assert dict(read.fields) == (yaml.load(block, SAFE_LOADER) or {})
        assert not read.is_repaired
    if read.is_repaired:
        assert set(read.fields) == set(values)


@settings(max_examples=examples(200))
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=60)))
def test_quoted_values_always_read(values: dict[str, str]) -> None:
    block = yaml.safe_dump(values, allow_unicode=False)
    read = front_matter(f"---\n{block}---\n")
    assert not read.rule
    assert dict(read.fields) == values


def test_tool_lists_divide_outside_of_parentheses_only() -> None:
    assert tool_list("Read, Agent(a, b), Bash(git *)") == ("Read", "Agent(a, b)", "Bash(git *)")
    assert tool_list("Read Bash(git status *) Grep", by_spaces=True) == (
        "Read", "Bash(git status *)", "Grep",
    )  # fmt: skip
    assert tool_list(["Read", " Grep "]) == ("Read", "Grep")


def test_each_finding_names_its_line_and_the_nearest_name() -> None:
    text = agent("name: one\ndescription: d\ntoolz: Read\nmodel: sonet\ncolor: teal\n")
    found = {one.code: one for one in judged({"agents/one.md": text})[1].findings}
    assert found["unknown-field:toolz"].line == 4
    assert "tools" in found["unknown-field:toolz"].message
    assert found["unknown-model:sonet"].line == 5
    assert found["color-not-allowed:teal"].line == 6
    assert all(one.severity is Severity.WARNING for one in found.values())


def test_an_agent_without_a_name_or_description_is_rejected() -> None:
    assert {"name-missing", "description-missing"} <= codes({"agents/a.md": agent("model: opus\n")})
    assert "name-missing" not in codes(
        {
            "p/.claude-plugin/plugin.json": '{"name": "p"}',
            "p/agents/a.md": agent("description: d\n"),
        }
    )


def test_commands_are_named_by_their_file_and_keep_a_hint_in_brackets() -> None:
    package, result = judged(
        {"commands/fix.md": agent("argument-hint: [issue]\nname: other\n", "Fix $ARGUMENTS, $1\n")}
    )
    (one,) = package.components
    assert (one.type, one.name) == (ComponentType.COMMAND, "fix")
    assert one.content["fields"]["argument-hint"] == "[issue]"
    assert {found.code for found in result.findings} == {
        "argument-hint-not-string", "name-ignored", "positional-counts-from-zero:$1",
        "uses-arguments", "uses-positional",
    }  # fmt: skip


def test_the_portable_profile_is_stricter() -> None:
    files = {"skills/one/SKILL.md": agent("name: one\ndescription: d\nmodel: opus\n")}
    assert codes(files) == set()
    assert codes(files, profile="portable") == {"portable-field:model"}
    files = {"skills/one/SKILL.md": agent("name: two\ndescription: d\n")}
    assert "portable-limit" in codes(files, profile="portable")


def test_one_bad_file_hides_no_other() -> None:
    package, result = judged(
        {
            "agents/bad.md": "---\nname: [\n---\n",
            "agents/good.md": AGENT.format(name="good"),
            "agents/binary.md": b"\xff\xfe\x00",
            "notes.txt": "no configuration",
        }
    )
    assert [one.name for one in package.components] == ["good"]
    assert result.files == {
        "agents/bad.md": "rejected",
        "agents/binary.md": "rejected",
        "agents/good.md": "accepted",
        "notes.txt": "ignored",
    }
    assert not result.is_refused


def test_servers_are_components_of_their_own() -> None:
    text = json.dumps(
        {
            "mcpServers": {
                "good": {"command": "serve", "args": ["--port", "1"]},
                "bad": {"url": "https://example.org/mcp"},
                "newest": {"command": "npx", "args": ["-y", "thing@latest"], "descrption": "x"},
            }
        },
        indent=1,
    )
    package, result = judged({".mcp.json": text})
    assert {one.name for one in package.components} == {"good", "newest"}
    found = {one.code: one.line for one in result.findings}
    assert found["url-without-type"] == text[: text.index('"url"')].count("\n") + 1
    assert {"unknown-server-key:descrption", "unpinned-source:thing@latest"} <= set(found)


def test_a_bad_rule_that_allows_is_left_out_alone() -> None:
    text = json.dumps({"permissions": {"allow": ["Read", "Nonsense(", "Grep"], "deny": ["Edit"]}})
    package, result = judged({".claude/settings.json": text})
    (one,) = [one for one in package.components if one.type is ComponentType.PERMISSIONS]
    assert one.content == {"allow": ["Read", "Grep"], "deny": ["Edit"]}
    assert not result.is_valid
    assert not result.is_refused


@pytest.mark.parametrize(
    "settings_text",
    [
        '{"permissions": {"deny": ["Bash("]}}',
        '{"permissions": {"ask": ["Nothing"]}}',
        '{"permissions": {"deny": ["Write(secrets/**)"]}}',
        '{"permissions": {"defaultMode": "allowEdits"}}',
        '{"permissions": {"deny": ["Read"], "deny": []}}',
        '{"permissions": []}',
        '{"permissions": {"defaultMode": ["plan"]}}',
        '{"sandbox": {"enabled": "yes"}}',
        '{"hooks": {"PreToolUse": [{"matcher": ["Bash"], "hooks": []}]}}',
        '{"hooks": {"PreToolUse": {}}}',
        '{"permissions": {"deny": ["Read"]',
    ],
)
def test_where_leaving_out_permits_more_the_package_is_refused(settings_text: str) -> None:
    package, result = judged(
        {".claude/settings.json": settings_text, "agents/a.md": AGENT.format(name="a")}
    )
    assert result.is_refused
    assert package.components == ()


def test_a_bad_hook_that_cannot_forbid_taints_itself_only() -> None:
    text = json.dumps(
        {
            "hooks": {
                "Stop": [
                    {"hooks": [{"type": "script"}]},
                    {"hooks": [{"type": "command", "command": "x"}]},
                ]
            }
        }
    )
    package, result = judged({".claude/settings.json": text})
    assert {one.name for one in package.components if one.type is ComponentType.HOOK} == {
        ".claude/settings/Stop/1"
    }
    assert not result.is_refused


def test_service_configurations_are_held_against_their_schema() -> None:
    schema = {
        "type": "object", "properties": {"port": {"type": "integer"}}, "required": ["port"]
    }  # fmt: skip
    files = {
        "callboard/services/web.schema.json": json.dumps(schema),
        "callboard/services/web.yaml": "host: a\nport: high\n",
    }
    _, result = judged(files)
    (one,) = result.findings
    assert (one.code, one.line) == ("schema-invalid:port=high", 2)
    files["callboard/services/web.schema.json"] = '{"pattern": "(a+)+$"}'
    assert "schema-invalid" in codes(files)
    for hostile in ('{"$ref": "#"}', '{"$ref": "#/nothing"}', '{"type": 3}', "[]", "{"):
        files["callboard/services/web.schema.json"] = hostile
        assert {one.path for one in judged(files)[1].errors} >= {"callboard/services/web.yaml"}
    assert "own-invalid" in codes({"callboard/pipelines/p.yaml": "name: p\nstages: 3\n"})


json_values_strategy = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=examples(200))
@given(json_values_strategy)
def test_json_reads_as_json_does_and_knows_the_line_of_all_keys(value: object) -> None:
    text = json.dumps(value, indent=1)
    assert json_values(text).value == value
    lines = json_lines(text)
    if isinstance(value, dict):
        for key in value:
            written = text.split("\n")[lines[str(key).removeprefix(".")] - 1] if key else ""
            assert not key or json.dumps(key) in written or "." in key or "[" in key


def test_a_long_line_of_spaces_takes_no_time() -> None:
    line = "description: a" + " " * 150_000 + "b: c"
    assert front_matter(f"---\nname: one\n{line}\n---\n").is_repaired
