"""Permission rules: deny, then ask, then allow; and what is uncertain is never allowed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.configuration.permissions import (
    Effect,
    PermissionRule,
    Places,
    decide,
    glob,
    parse_rule,
    rule_problem,
)
from callboard.messages.core.errors import UsageError
from tests.thoroughness import examples

PLACES = Places(current="/project/src", home="/persons/ann", settings="/project")


def rules(*, allow: str = "", ask: str = "", deny: str = "") -> list[PermissionRule]:
    texts = ((Effect.ALLOW, allow), (Effect.ASK, ask), (Effect.DENY, deny))
    return [parse_rule(text, effect) for effect, held in texts for text in held.split(";") if text]


def bash(command: str, **held: str) -> str:
    return decide(rules(**held), "Bash", {"command": command}).outcome


@pytest.mark.parametrize(
    ("pattern", "command", "outcome"),
    [
        ("Bash", "anything at all", "allow"),
        ("Bash(*)", "anything $(at all)", "allow"),
        ("Bash(ls *)", "ls", "allow"),
        ("Bash(ls *)", "ls -la", "allow"),
        ("Bash(ls *)", "lsof", "ask"),
        ("Bash(ls*)", "lsof", "allow"),
        ("Bash(ls:*)", "ls -la", "allow"),
        ("Bash(ls:*)", "lsof", "ask"),
        ("Bash(git * main)", "git push origin main", "allow"),
        ("Bash(a:b)", "a:b", "allow"),
        ("Bash(npm test)", "timeout 30 npm test", "allow"),
        ("Bash(npm test)", "time nice -n 5 nohup npm test", "allow"),
        ("Bash(npm test)", "X=1 npm test", "ask"),
        ("Bash(npm test)", "npm test && rm -rf x", "ask"),
        ("Bash(npm *);Bash(rm *)", "npm test && rm -rf x", "allow"),
        ("Bash(echo *)", "echo $(rm -rf x)", "ask"),
        ("Bash(echo *)", "echo `rm -rf x`", "ask"),
        ("Bash(echo *)", "echo a > /etc/passwd", "ask"),
        ("Bash(echo *)", "echo a 2>&1", "allow"),
        ("Bash(echo *)", "echo a 2> /dev/null", "allow"),
        ("Bash(echo *)", "echo 'a; b'", "allow"),
        ("Bash(echo *)", "echo a\nrm x", "ask"),
        ("Bash(echo *)", "echo 'a", "ask"),
    ],
)
def test_allowing_a_command(pattern: str, command: str, outcome: str) -> None:
    assert bash(command, allow=pattern) == outcome


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf x", "true && rm x", "true; rm x", "true | rm x", "true & rm x", "timeout 5 rm x",
        "r\\m x", "'rm' x", "rm   x", "rm\tx", "X=1 rm x", "A=b C=d nohup rm x",
        "echo $(rm x)", "echo `rm x`", "(rm x)", "true\nrm x",
    ],
)  # fmt: skip
def test_a_denied_command_is_denied_wherever_it_stands(command: str) -> None:
    assert bash(command, allow="Bash", deny="Bash(rm *)") == "deny"


def test_the_first_effect_decides_however_specific_the_rules_are() -> None:
    held = rules(allow="Bash(git status)", ask="Bash(git *)", deny="Bash(git push *)")
    assert decide(held, "Bash", {"command": "git status"}).outcome == "ask"
    assert decide(held, "Bash", {"command": "git push"}).outcome == "deny"
    assert str(decide(held, "Bash", {"command": "git push"}).rule) == "Bash(git push *)"
    assert decide(held, "Read", {"file_path": "a"}).outcome == "ask"


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("Read(//etc/**)", "/etc/passwd", True),
        ("Read(//etc/**)", "/project/src/../../etc/passwd", True),
        ("Read(~/.ssh/**)", "/persons/ann/.ssh/key", True),
        ("Read(~/.ssh/**)", "~/.ssh/key", True),
        ("Read(/docs/*.md)", "/project/docs/a.md", True),
        ("Read(/docs/*.md)", "/project/docs/b/a.md", False),
        ("Read(/docs)", "/project/docs/b/a.md", True),
        ("Read(*.env)", "deep/down/.env", True),
        ("Read(*.env)", "/other/.env", False),
        ("Read(./a/**/b)", "a/x/y/b", True),
        ("Read(a/**/b)", "a/b", True),
        ("Read(a/**/b)", "a/c", False),
        ("Read(//**)", "/anything", True),
    ],
)
def test_paths_are_matched_as_gitignore_does(pattern: str, path: str, matches: bool) -> None:
    for tool in ("Read", "Grep", "Glob"):
        found = decide(rules(deny=pattern), tool, {"file_path": path}, PLACES).outcome
        assert (found == "deny") is matches
    edit = pattern.replace("Read", "Edit")
    for tool in ("Edit", "Write", "MultiEdit"):
        found = decide(rules(allow=edit), tool, {"file_path": path}, PLACES).outcome
        assert (found == "allow") is matches


def test_path_rules_for_other_tools_are_never_consulted() -> None:
    assert decide(rules(allow="Write(/a/**)"), "Write", {"file_path": "/a/b"}).outcome == "ask"


@pytest.mark.parametrize(
    ("rule", "tool", "arguments", "outcome"),
    [
        ("mcp__files", "mcp__files__read", {}, "allow"),
        ("mcp__files", "mcp__filesystem__read", {}, "ask"),
        ("mcp__files__*", "mcp__files__read", {}, "allow"),
        ("WebFetch(domain:example.org)", "WebFetch", {"url": "https://example.org/a"}, "allow"),
        ("WebFetch(domain:example.org)", "WebFetch", {"url": "https://example.org.evil/"}, "ask"),
        ("WebFetch(domain:example.org)", "WebFetch", {"url": "https://example.org@evil/"}, "ask"),
        ("WebFetch(domain:example.org)", "WebFetch", {"url": "http://["}, "ask"),
        ("Agent(reviewer)", "Task", {"subagent_type": "reviewer"}, "allow"),
        ("Skill(release *)", "Skill", {"skill": "release now"}, "allow"),
    ],
)
def test_other_tools(rule: str, tool: str, arguments: dict[str, str], outcome: str) -> None:
    assert decide(rules(allow=rule), tool, arguments).outcome == outcome


def test_deny_rules_match_one_parameter() -> None:
    held = rules(allow="mcp__db", deny="mcp__db__run(mode:write*)")
    assert decide(held, "mcp__db__run", {"mode": "write-all"}).outcome == "deny"
    assert decide(held, "mcp__db__run", {"mode": "read"}).outcome == "allow"
    assert decide(held, "mcp__db__run", {"mode": ["write"]}).outcome == "deny"


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("", Effect.ALLOW), ("Bash(", Effect.DENY), ("Bash()", Effect.DENY), ("a b", Effect.ASK),
        ("mcp__*", Effect.ALLOW), ("*", Effect.ALLOW), ("mcp__a__b(x:y)", Effect.ALLOW),
        ("Bash(ls)x", Effect.DENY), (f"Read({'a/' * 300})", Effect.DENY),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named(text: str, effect: Effect) -> None:
    assert rule_problem(text, effect)
    with pytest.raises(UsageError):
        parse_rule(text, effect)


texts = st.text("ab*/ .:;|&$()'\"\n~", max_size=25)


@settings(max_examples=examples(400))
@given(texts, texts, st.sampled_from(["Bash", "Read", "Edit", "WebFetch", "mcp__a__b"]))
def test_denying_never_permits_more(pattern: str, value: str, tool: str) -> None:
    held = rules(allow=tool)
    arguments = dict.fromkeys(("command", "file_path", "url"), value)
    before = decide(held, tool, arguments, PLACES).outcome
    for effect in (Effect.DENY, Effect.ASK):
        text = f"{tool}({pattern})"
        if not rule_problem(text, effect):
            after = decide([*held, parse_rule(text, effect)], tool, arguments, PLACES).outcome
            assert after == before or after == str(effect)


@settings(max_examples=examples(400))
@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_what_is_denied_stays_denied_in_any_compound(command: str, others: list[str]) -> None:
    word = "forbidden x"
    del command
    compound = " ; ".join([*(one for one in others if not set(one) & set("'\"\\")), word])
    assert bash(compound, allow="Bash", deny="Bash(forbidden *)") == "deny"


@settings(max_examples=examples(300))
@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_globs_match_as_regular_expressions_do(pattern: str, text: str) -> None:
    import re

    expected = re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) is not None
    assert glob(pattern, text) is expected


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not glob("a*" * 400 + "b", "a" * 4_000)
    assert bash("x && " * 5_000, allow="Bash(x)") == "ask"
