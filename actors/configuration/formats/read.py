"""What a file is, by its path and its text, and the reader of its kind.

Every file ends as read, or as no configuration; nothing is skipped in silence.
"""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from callboard.messages.core.errors import CallboardError
from callboard.messages.core.yaml_text import YamlRefused, yaml_values

from ...pipelines.errors import PipelineRefused
from ...pipelines.files import pipeline_from_data
from ..package import ComponentType
from .draft import Check, Draft, FileReading, SourceFile
from .json_text import json_lines
from .markdown import read_agent, read_command, read_instruction, read_skill
from .settings_table import SETTING_NAMES
from .shapes import words
from .structured import (
    read_hooks,
    read_json,
    read_marketplace,
    read_plugin,
    read_servers,
    read_settings,
    schema_errors,
)

__all__ = ["FILE_BYTES_MAX", "OWN_FOLDER", "Profile", "Scopes", "read_file"]

FILE_BYTES_MAX: Final = 4_194_304
"""A larger file is not read; the product skips instructions of that size as well."""
OWN_FOLDER: Final = "callboard"
"""The folder of Callboard's own components."""
OWN_KINDS: Final[Mapping[str, ComponentType]] = {
    "alerts": ComponentType.ALERTS,
    "pipelines": ComponentType.PIPELINE,
    "services": ComponentType.SERVICE,
}
TEXT_SUFFIXES: Final = frozenset({".md", ".json", ".yaml", ".yml"})
PROSE: Final = frozenset(
    words("readme changelog contributing license code_of_conduct security install authors todo")
)
FOLDERS: Final[Mapping[str, str]] = {"agents": "agent", "commands": "command", "rules": "rule"}
NAMED_SCHEMAS: Final[Mapping[str, str]] = {
    "claude-code-settings": "settings",
    "claude-code-plugin-manifest": "plugin",
    "claude-code-marketplace": "marketplace",
}
GENERIC_KEYS: Final = frozenset(
    {"agent", "env", "language", "model", "theme", "tui", "verbose", "viewMode", "voice"}
)
"""Keys of settings that files of other kinds have as well."""
FIELDS: Final = re.compile(r"^(name|description|tools|model)[ \t]*:", re.MULTILINE)
HEAD_CHARACTERS: Final = 4_000
AGENT_FIELDS_LEAST: Final = 2

Profile = Literal["product", "portable"]


class Scopes:
    """Which files belong together: the roots of the plugins of a source."""

    def __init__(self, paths: "frozenset[str] | set[str]") -> None:
        self._plugins = {
            root.removesuffix(".claude-plugin/plugin.json").rstrip("/")
            for root in paths
            if root.endswith(".claude-plugin/plugin.json")
        }

    def plugin_root(self, path: str) -> str | None:
        """The root of the plugin that a file belongs to."""
        for parent in PurePosixPath(path).parents:
            root = "" if str(parent) == "." else str(parent)
            if root in self._plugins:
                return root
        return None


def read_file(
    file: SourceFile,
    scopes: Scopes,
    *,
    profile: Profile = "product",
    checks: Mapping[str, Check] | None = None,
    schemas: Mapping[str, bytes] | None = None,
) -> FileReading:
    """The components in a file, and everything that is wrong with it. Raises nothing.

    `checks` reads formats of other parts, by the folder of the component. `schemas` has the JSON
    Schemas of service configurations, by their paths.
    """
    reading = FileReading(file.path)
    if file.rule:
        reading.note(file.rule, file.problem)
        return reading
    path = PurePosixPath(file.path)
    if path.suffix.lower() not in TEXT_SUFFIXES:
        reading.is_configuration = False
        return reading
    if len(file.data) > FILE_BYTES_MAX:
        reading.note("file-too-large", f"the file has {len(file.data):,} bytes.")
        return reading
    try:
        text = file.data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = file.data.count(b"\n", 0, error.start) + 1
        reading.note("not-utf-8", "the file is not UTF-8.", line=line)
        return reading
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    root = scopes.plugin_root(file.path)
    own = _own_kind(path)
    if own:
        _read_own(reading, path, text, own, checks or {}, schemas or {})
    elif path.suffix.lower() == ".md":
        _read_markdown(reading, path, text, _plugin_name(root), profile)
    elif path.suffix.lower() == ".json":
        _read_json(reading, path, text, _plugin_name(root))
    else:
        reading.is_configuration = False
    for draft in reading.drafts:
        draft.scope = root if root is not None else _project(path)
    return reading


def _plugin_name(root: str | None) -> str:
    return root.rpartition("/")[2] if root else ""


def _project(path: PurePosixPath) -> str:
    """The folder with the `.claude` that a file is in; empty for none."""
    for parent in path.parents:
        if parent.name in (".claude", "dot-claude"):
            return str(parent)
    return ""


# --- Markdown ------------------------------------------------------------------------------


def _read_markdown(
    reading: FileReading, path: PurePosixPath, text: str, plugin: str, profile: Profile
) -> None:
    match _markdown_kind(path, text):
        case "agent":
            read_agent(reading, text, plugin=plugin, stem=path.stem)
        case "command":
            read_command(reading, text, plugin=plugin, stem=path.stem)
        case "skill":
            stem = path.parent.name
            is_portable = profile == "portable"
            read_skill(reading, text, plugin=plugin, stem=stem, is_portable=is_portable)
        case "instruction":
            read_instruction(reading, text, stem=str(path))
        case _:
            reading.is_configuration = False


def _markdown_kind(path: PurePosixPath, text: str) -> str:
    if path.name == "SKILL.md":
        return "skill"
    if path.name in ("CLAUDE.md", "CLAUDE.local.md"):
        return "instruction"
    folders = path.parts[:-1]
    if "skills" in folders:
        return ""  # A skill's own files.
    is_prose = path.stem.lower() in PROSE and not text.startswith("---")
    for folder in reversed(folders):
        if folder in FOLDERS and not is_prose:
            kind = FOLDERS[folder]
            if kind != "rule":
                return kind
            return "instruction" if {".claude", "dot-claude"} & set(folders) else ""
    head = text[:HEAD_CHARACTERS] if text.startswith("---") else ""
    names = {found[1] for found in FIELDS.finditer(head)}
    if {"name", "description"} <= names or len(names) > AGENT_FIELDS_LEAST:
        return "agent"
    return ""


# --- JSON ----------------------------------------------------------------------------------


def _read_json(reading: FileReading, path: PurePosixPath, text: str, plugin: str) -> None:
    kind = _json_kind(path)
    if kind == "unknown" and not text.lstrip().startswith("{"):
        reading.is_configuration = False
        return
    value = read_json(reading, text)
    fails_closed = kind in ("settings", "hooks")
    if value is None:
        if kind == "unknown":
            reading.is_configuration, reading.findings = False, []
        elif fails_closed:
            reading.refusals.append(f"{path}: it cannot be read, and could forbid something.")
        return
    if fails_closed and any(found.rule == "json-repeated-key" for found in reading.findings):
        reading.refusals.append(f"{path}: a repeated key hides what its first value forbids.")
    name = plugin or str(path.with_suffix(""))
    match kind if kind != "unknown" else _json_kind_of(value, path):
        case "plugin":
            read_plugin(reading, text, value)
        case "marketplace":
            read_marketplace(reading, text, value)
        case "hooks":
            read_hooks(reading, text, value, name, plugin)
        case "servers":
            read_servers(reading, text, value, plugin)
        case "settings":
            read_settings(reading, text, value, str(path.with_suffix("")))
        case _:
            reading.is_configuration, reading.findings = False, []


def _json_kind(path: PurePosixPath) -> str:
    name = path.name
    if name in ("plugin.json", "marketplace.json"):
        parent = path.parent.name
        return path.stem if parent.endswith("claude-plugin") else "unknown"
    if name.endswith("settings.json") or name == "settings.local.json":
        return "settings"
    if name == "hooks.json" and path.parent.name == "hooks":
        return "hooks"
    return "servers" if name in (".mcp.json", "dot-mcp.json") else "unknown"


def _json_kind_of(value: Mapping[str, Any], path: PurePosixPath) -> str:
    """The kind by the schema that is named, in the file or by its folder, or by the keys."""
    places = f"{value.get('$schema', '')!s:.300} {path.parent.name}"
    for sign, kind in NAMED_SCHEMAS.items():
        if sign in places:
            return kind
    if isinstance(value.get("mcpServers"), dict):
        return "servers"
    rules = value.get("permissions")
    if isinstance(rules, dict) and {"allow", "deny", "ask", "defaultMode"} & set(rules):
        return "settings"
    hooks = value.get("hooks")
    is_hooks = isinstance(hooks, dict) and any(isinstance(one, list) for one in hooks.values())
    keys = {key for key in value if key != "$schema"}
    is_all_known = keys <= SETTING_NAMES and bool(keys - GENERIC_KEYS)
    return "settings" if is_hooks or is_all_known else ""


# --- Callboard's own -----------------------------------------------------------------------


def _own_kind(path: PurePosixPath) -> str:
    """The folder under `callboard/` that a file is in; `settings` and `policy` are files."""
    parts = path.parts
    if OWN_FOLDER not in parts[:-1]:
        return ""
    inner = parts[parts.index(OWN_FOLDER) + 1 :]
    if len(inner) == 1 and path.stem in ("settings", "policy"):
        return path.stem
    return inner[0] if len(inner) > 1 and inner[0] in OWN_KINDS else ""


def _read_own(
    reading: FileReading,
    path: PurePosixPath,
    text: str,
    folder: str,
    checks: Mapping[str, Check],
    schemas: Mapping[str, bytes],
) -> None:
    if folder == "policy":
        return  # The gates read it.
    if path.name.endswith(".schema.json"):
        _read_json_schema(reading, text)
        return
    kind = OWN_KINDS.get(folder, ComponentType.SETTING)
    draft = Draft(kind, path.stem, reading.path, text=text)
    reading.drafts.append(draft)
    value = _own_values(draft, path, text)
    if value is None:
        return
    draft.fields = value
    if folder in checks:
        for line, problem in checks[folder](reading.path, text):
            draft.note("own-invalid", f"{problem}.", line=line)
    elif kind is ComponentType.PIPELINE:
        _check_pipeline(draft, value, path.stem)
    elif kind is ComponentType.SERVICE:
        _check_service(draft, value, schemas.get(str(path.with_suffix(".schema.json"))))
    else:
        draft.note("own-unchecked", f"nothing here reads {folder}.")


def _own_values(draft: Draft, path: PurePosixPath, text: str) -> dict[str, Any] | None:
    if path.suffix == ".json":
        reading = FileReading(draft.path)
        value = read_json(reading, text)
        draft.findings += reading.findings
        if isinstance(value, dict):
            draft.lines = json_lines(text)
            return value
        return None
    try:
        read = yaml_values(text)
    except YamlRefused as error:
        draft.note("yaml-invalid", f"no YAML: {error.problem}.", line=error.line)
        return None
    draft.lines = read.lines
    for line, problem in read.problems:
        draft.note("yaml-invalid", f"{problem}.", line=line)
    if not isinstance(read.value, dict):
        draft.note("yaml-invalid", "the file is no mapping.")
        return None
    return read.value


def _check_pipeline(draft: Draft, value: Mapping[str, Any], name: str) -> None:
    try:
        pipeline_from_data(value, {path: str(line) for path, line in draft.lines.items()}, name)
    except PipelineRefused as error:
        for problem in error.details["problems"]:
            line = re.match(r"\d+", str(problem))
            draft.note("own-invalid", f"{problem}.", line=int(line[0]) if line else 1)
    except CallboardError as error:
        draft.note("own-invalid", error.message)


def _check_service(draft: Draft, value: Mapping[str, Any], schema: bytes | None) -> None:
    if schema is None:
        draft.note("own-unchecked", f"there is no {draft.name}.schema.json next to it.")
        return
    try:
        held = json.loads(schema)
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict) or _schema_problems(held):
        draft.note("own-invalid", f"{draft.name}.schema.json cannot be used.")
        return
    draft.schema = held
    for path, found, problem in schema_errors(draft.schema, value):
        shown = f"{path}={found}" if isinstance(found, str | int | float | bool) else path
        draft.note("schema-invalid", f"{path or 'it'}: {problem}.", subject=shown, name=path)


def _read_json_schema(reading: FileReading, text: str) -> None:
    value = read_json(reading, text)
    for problem in _schema_problems(value) if isinstance(value, dict) else ():
        reading.note("schema-invalid", problem)


DANGEROUS: Final = re.compile(r"[+*}]\)?[+*{]|\([^)]*[+*|][^)]*\)[+*{]")
PATTERN_CHARACTERS_MAX: Final = 500


def _schema_problems(schema: Mapping[str, Any]) -> "list[str]":
    """What is wrong with a foreign schema by itself.

    Its patterns run as they are, so those that could take for ever are refused.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    problems: list[str] = []
    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        problems.append(f"the schema is no JSON Schema: {error.message:.200}.")
    except RecursionError:
        problems.append("the schema nests too deep.")
    level: list[Any] = [schema]
    while level:
        one = level.pop()
        if isinstance(one, list):
            level += one
        elif isinstance(one, dict):
            level += one.values()
            texts = [one.get("pattern")]
            if isinstance(one.get("patternProperties"), dict):
                texts += one["patternProperties"]
            for pattern in texts:
                is_long = isinstance(pattern, str) and len(pattern) > PATTERN_CHARACTERS_MAX
                if isinstance(pattern, str) and (is_long or DANGEROUS.search(pattern)):
                    problems.append(f"the pattern {pattern:.60} could take for ever.")
            reference = one.get("$ref")
            if isinstance(reference, str) and not reference.startswith("#"):
                problems.append(f"the reference {reference:.60} leaves the file.")
    return problems
