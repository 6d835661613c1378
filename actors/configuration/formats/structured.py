"""Settings, hooks, MCP servers, plugins and marketplaces: JSON with a table for each."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from ..package import ComponentType
from ..permissions import EDITS, READS, Effect, rule_problem
from .draft import Draft, FileReading, Reference, nearest
from .json_text import JsonRefused, json_lines, json_values
from .plugin_tables import (
    BLOCKING_EVENTS,
    EVENTS,
    HOOK_GROUP,
    LOOSE_GROUP,
    MARKETPLACE,
    PLUGIN,
    PLUGIN_NAMES,
    RESERVED_SERVERS,
    SERVER,
    SERVER_NAMES,
)
from .settings_table import SETTING_NAMES, SETTINGS
from .tables import KEBAB, RETIRED_TOOLS, TOOLS

__all__ = [
    "read_hooks",
    "read_json",
    "read_marketplace",
    "read_plugin",
    "read_servers",
    "read_settings",
    "schema_errors",
]

ERRORS_MAX: Final = 200
CLOSED_KEYS: Final = ("permissions.deny", "permissions.ask", "sandbox", "permissions.defaultMode",
                      "permissions.disableBypassPermissionsMode", "disableBypassPermissionsMode",
                      "deniedMcpServers", "blockedMarketplaces", "strictKnownMarketplaces",
                      "allowManaged", "disableAllHooks", "disableAutoMode")  # fmt: skip
"""Keys that forbid: leaving them out would permit more."""
MILLISECONDS: Final = 1_000
SLOW_HOOK_S: Final = 3_600
MODE: Final = "permissions.defaultMode"
BYPASS: Final = "bypassPermissions"
SETTING_TOOLS: Final = TOOLS | {"MultiEdit", "KillShell"}
MCP: Final = re.compile(r"mcp__.*", re.DOTALL)
GIT_SOURCES: Final = ("github", "url", "git-subdir", "git")


def read_json(reading: FileReading, text: str) -> Any:
    """The values of a JSON file; None, with a finding, when there are none."""
    try:
        read = json_values(text.removeprefix("\ufeff"))
    except JsonRefused as error:
        reading.note("json-invalid", f"{error.problem}.", line=error.line)
        return None
    for key in read.repeated:
        reading.note("json-repeated-key", f"{key!r:.60} is there twice.", subject=key)
    if not isinstance(read.value, dict):
        reading.note("json-invalid", "the file is no object.")
        return None
    return read.value


def _draft(
    reading: FileReading, kind: ComponentType, name: str, text: str, value: Mapping[str, Any],
    plugin: str = "",
) -> Draft:  # fmt: skip
    draft = Draft(
        kind, name, reading.path, plugin=plugin, fields=value, text=text, lines=json_lines(text)
    )
    reading.drafts.append(draft)
    return draft


def schema_errors(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str, Any, str]]:
    """The path, the value and the problem of each error, at most 200."""
    for error in _errors(schema, value):
        if isinstance(error, str):
            yield "", None, error
            return
        deepest = error
        while deepest.context:
            deepest = max(deepest.context, key=lambda one: len(one.absolute_path))
            if len(deepest.absolute_path) <= len(error.absolute_path):
                deepest = error
                break
        path = ""
        for part in deepest.absolute_path:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
        yield path.removeprefix("."), deepest.instance, f"{deepest.message:.300}"


def _errors(schema: Mapping[str, Any], value: Any) -> list[Any]:
    """The errors of jsonschema; a text when the schema cannot be used."""
    try:
        return list(islice(_validator(id(schema), _Held(schema)).iter_errors(value), ERRORS_MAX))
    except Exception as error:  # noqa: BLE001 - references of a foreign schema raise anything
        return [f"the schema cannot be used: {type(error).__name__}"]


class _Held:
    """Keeps a schema with its validator, so that its identity stays its own."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.schema is self.schema

    def __hash__(self) -> int:
        return id(self.schema)


@functools.lru_cache(maxsize=256)
def _validator(_: int, held: _Held) -> Any:
    # Imported here: it takes longer to load than all of the rest.
    from jsonschema import Draft7Validator

    return Draft7Validator(held.schema)


def _check(draft: Draft, schema: Mapping[str, Any], value: Any, at: str = "") -> None:
    """Add a finding for each error; refuse the package when the part forbids something."""
    for path, found, problem in schema_errors(schema, value):
        place = f"{at}.{path}".strip(".") if path else at
        shown = f"{place}={found}" if isinstance(found, str | int | float | bool) else place
        draft.note("schema-invalid", f"{place}: {problem}.", subject=shown, name=place)
        if place.startswith(CLOSED_KEYS):
            draft.refuse(f"{place} is wrong, and leaving it out would permit more.")


# --- settings ------------------------------------------------------------------------------


def read_settings(reading: FileReading, text: str, value: dict[str, Any], name: str) -> None:
    """Settings, with permissions and hooks as components of their own."""
    settings = _draft(reading, ComponentType.SETTING, name, text, value)
    own = {k: v for k, v in value.items() if k not in ("permissions", "hooks")}
    settings.fields = own
    for key in own:
        if key not in SETTING_NAMES:
            hint = nearest(key, SETTING_NAMES)
            settings.note(
                "unknown-key", f"the key {key!r:.60} is not known.{hint}", subject=key, name=key
            )
    _check(settings, SETTINGS, own)
    for helper in ("apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "gcpAuthRefresh",
                   "otelHeadersHelper", "statusLine", "fileSuggestion", "policyHelper",
                   "subagentStatusLine", "processWrapper"):  # fmt: skip
        if helper in own:
            settings.note("helper-runs-code", f"{helper} runs code.", subject=helper, name=helper)
    sandbox = own.get("sandbox")
    if isinstance(sandbox, dict) and sandbox.get("enabled") is False:
        settings.note("sandbox-off", "the sandbox is switched off.", name="sandbox.enabled")
    _check_marketplaces(settings, own.get("extraKnownMarketplaces"))
    _check_plugins_named(settings, own)
    if "permissions" in value:
        _read_permissions(reading, settings, value["permissions"], name)
    if "hooks" in value:
        _read_hooks(reading, settings, value["hooks"], name, "hooks")


def _check_marketplaces(draft: Draft, known: Any) -> None:
    for name, entry in known.items() if isinstance(known, dict) else ():
        source: Any = entry.get("source") if isinstance(entry, dict) else None
        if _is_git(source) and not source.get("ref") and not source.get("sha"):
            draft.note(
                "unpinned-source",
                f"the marketplace {name!r:.60} follows a branch.",
                subject=name,
                name=f"extraKnownMarketplaces.{name}",
            )


def _is_git(source: Any) -> bool:
    return isinstance(source, dict) and source.get("source") in GIT_SOURCES


def _check_plugins_named(draft: Draft, own: Mapping[str, Any]) -> None:
    names = own.get("enabledMcpjsonServers")
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str):
            line = draft.line_of("enabledMcpjsonServers")
            draft.references.append(Reference(ComponentType.MCP_SERVER, name, line))


def _read_permissions(reading: FileReading, settings: Draft, value: Any, name: str) -> None:
    draft = Draft(
        ComponentType.PERMISSIONS,
        name,
        reading.path,
        fields=value if isinstance(value, dict) else {},
        lines=settings.lines,
        fails_closed=True,
    )
    reading.drafts.append(draft)
    _check(draft, SETTINGS["properties"]["permissions"], value, "permissions")
    if not isinstance(value, dict):
        draft.refuse("permissions are wrong, and leaving them out would permit more.")
        return
    if value.get("defaultMode") == BYPASS:
        draft.note("bypass-permissions", "nothing is asked in this mode.", name=MODE)
    kept = dict(value)
    for effect in Effect:
        rules = value.get(effect)
        if isinstance(rules, list):
            kept[effect] = [
                rule
                for number, rule in enumerate(rules)
                if _is_usable(draft, effect, rule, f"permissions.{effect}[{number}]")
            ]
    draft.fields = kept


def _is_usable(draft: Draft, effect: Effect, rule: Any, at: str) -> bool:
    """Whether a rule can be used. One that allows is left out alone; others refuse the package."""
    if not isinstance(rule, str):
        return False  # The table says so already.
    before = len(draft.findings)
    problem = rule_problem(rule, effect)
    if problem:
        draft.note("permission-rule-broken", f"the rule {problem}.", subject=rule, name=at)
    else:
        tool, _, specifier = rule.strip().partition("(")
        if tool in RETIRED_TOOLS and tool in SETTING_TOOLS:
            instead = RETIRED_TOOLS[tool]
            draft.note("legacy-tool", f"{tool} is gone; use {instead}.", subject=tool, name=at)
        if tool not in SETTING_TOOLS and MCP.fullmatch(tool) is None and tool != "*":
            problem = "names no known tool"
            draft.note(
                "schema-invalid",
                f"{rule:.80} {problem}.{nearest(tool, SETTING_TOOLS)}",
                subject=f"permission-rule-{tool}",
                name=at,
            )
        elif specifier and tool in (READS | EDITS) - {"Read", "Edit"}:
            draft.note(
                "path-rule-never-consulted",
                f"rules with paths for {tool} are never consulted.",
                subject=tool,
                name=at,
            )
            if effect is not Effect.ALLOW:
                draft.refuse(f"the {effect} rule {rule!r:.80} forbids nothing.")
    if problem and effect is not Effect.ALLOW:
        draft.refuse(f"the {effect} rule {rule!r:.80} {problem}.")
    elif problem:
        draft.spares.update(found.code for found in draft.findings[before:])
    return not problem


# --- hooks ---------------------------------------------------------------------------------


def read_hooks(
    reading: FileReading, text: str, value: dict[str, Any], name: str, plugin: str
) -> None:
    """A `hooks.json`."""
    whole = _draft(reading, ComponentType.HOOK, name, text, value, plugin)
    reading.drafts.pop()
    for key in value:
        if key not in ("hooks", "description", "$schema"):
            reading.note("unknown-key", f"the key {key!r:.60} is not known.", subject=key)
    _check(whole, {"properties": {"hooks": {}}, "required": ["hooks"], "type": "object"}, value)
    reading.findings += whole.findings
    if "hooks" in value:
        _read_hooks(reading, whole, value["hooks"], name, "hooks")
        if reading.drafts:
            reading.drafts[0].text = text


def _read_hooks(reading: FileReading, around: Draft, value: Any, name: str, at: str) -> None:
    """One component for each group: a bad one taints itself only."""
    if not isinstance(value, dict):
        reading.note("schema-invalid", "hooks must be an object.", subject="hooks")
        reading.refusals.append(f"{reading.path}: hooks are wrong, and some could forbid.")
        return
    for event, groups in value.items():
        place = f"{at}.{event}"
        if event not in EVENTS:
            hint = nearest(event, EVENTS)
            line = around.line_of(place)
            reading.note(
                "schema-invalid", f"{event!r:.60} is no event.{hint}", subject=place, line=line
            )
            continue
        if not isinstance(groups, list):
            reading.note("schema-invalid", f"{place} must be a list.", subject=place)
            if event in BLOCKING_EVENTS:
                reading.refusals.append(f"{reading.path}: {place} is wrong, and could forbid.")
            continue
        for number, group in enumerate(groups):
            draft = Draft(
                ComponentType.HOOK,
                f"{name}/{event}/{number}",
                reading.path,
                plugin=around.plugin,
                fields=group if isinstance(group, dict) else {},
                lines=around.lines,
                fails_closed=event in BLOCKING_EVENTS,
            )
            reading.drafts.append(draft)
            is_strict = around.type is ComponentType.SETTING
            _check(draft, HOOK_GROUP if is_strict else LOOSE_GROUP, group, f"{place}[{number}]")
            for path, handler in _handlers(group, f"{place}[{number}]"):
                _check_handler(draft, handler, path)


def _handlers(group: Any, at: str) -> Iterator[tuple[str, dict[str, Any]]]:
    inner = group.get("hooks") if isinstance(group, dict) else None
    for place, handler in enumerate(inner if isinstance(inner, list) else ()):
        if isinstance(handler, dict):
            yield f"{at}.hooks[{place}]", handler


def _check_handler(draft: Draft, handler: Mapping[str, Any], at: str) -> None:
    kind = handler.get("type")
    draft.note("hook-runs-code", f"a hook of the type {kind!s:.20}.", subject=str(kind), name=at)
    timeout = handler.get("timeout")
    if isinstance(timeout, int | float) and timeout >= SLOW_HOOK_S:
        draft.note(
            "hook-timeout-in-milliseconds",
            f"{timeout:,} seconds: are milliseconds meant?",
            name=f"{at}.timeout",
        )


# --- servers -------------------------------------------------------------------------------


def read_servers(reading: FileReading, text: str, value: dict[str, Any], plugin: str) -> None:
    """One component for each server of a `.mcp.json`."""
    is_wrapped = isinstance(value.get("mcpServers"), dict)
    servers = value["mcpServers"] if is_wrapped else value
    lines = json_lines(text)
    if not is_wrapped and not all(isinstance(server, dict) for server in servers.values()):
        reading.note("schema-invalid", "mcpServers must be an object.", subject="mcpServers")
        return
    for key in value if is_wrapped else ():
        if key not in ("mcpServers", "$schema"):
            reading.note("unknown-key", f"the key {key!r:.60} is not known.", subject=key)
    for number, (name, server) in enumerate(servers.items()):
        at = f"mcpServers.{name}" if is_wrapped else name
        draft = Draft(
            ComponentType.MCP_SERVER,
            name,
            reading.path,
            plugin=plugin,
            fields=server if isinstance(server, dict) else {},
            text="" if number else text,
            lines=lines,
        )
        reading.drafts.append(draft)
        _check_server(draft, server, at)


def _check_server(draft: Draft, server: Any, at: str) -> None:
    if draft.name in RESERVED_SERVERS:
        draft.note("reserved-name", "the name is reserved.", subject=draft.name, name=at)
    if not isinstance(server, dict):
        draft.note("schema-invalid", "a server must be an object.", subject=at, name=at)
        return
    for key in server:
        if key not in SERVER_NAMES:
            hint = nearest(key, SERVER_NAMES)
            draft.note(
                "unknown-server-key", f"{key!r:.60} is not known.{hint}", subject=key,
                name=f"{at}.{key}",
            )  # fmt: skip
    if "type" in server:
        _check(draft, SERVER, server, at)
    elif "url" in server and "command" not in server:
        draft.note("url-without-type", "a server with a url needs a type.", name=f"{at}.url")
    elif "command" not in server:
        draft.note("server-without-command", "the server has no command.", name=at)
    else:
        _check(draft, SERVER, {"type": "stdio", **server}, at)
    timeout = server.get("timeout")
    if isinstance(timeout, int | float) and timeout < MILLISECONDS:
        draft.note("timeout-under-a-second", f"{timeout} ms has no effect.", name=f"{at}.timeout")
    if "headersHelper" in server:
        draft.note("headers-helper", "a command makes the headers.", name=f"{at}.headersHelper")
    words = [
        server.get("command"),
        *(server["args"] if isinstance(server.get("args"), list) else ()),
    ]
    for word in words:
        if isinstance(word, str) and word.endswith(("@latest", ":latest")):
            draft.note(
                "unpinned-source", f"{word:.80} follows what is newest.", subject=word, name=at
            )


# --- plugins -------------------------------------------------------------------------------


def read_plugin(reading: FileReading, text: str, value: dict[str, Any]) -> None:
    """A `plugin.json`."""
    name = value.get("name")
    draft = _draft(
        reading, ComponentType.PLUGIN, name if isinstance(name, str) else "", text, value
    )
    if not draft.name:
        draft.name = reading.path.split("/")[-3:][0]
        draft.note("name-missing", "the plugin has no name.")
    elif KEBAB.fullmatch(draft.name) is None:
        draft.note("name-not-kebab", f"the name {draft.name:.60} is unusual.", name="name")
    for key in value:
        if key not in PLUGIN_NAMES:
            draft.note(
                "unknown-key",
                f"the key {key!r:.60} is not known.{nearest(key, PLUGIN_NAMES)}",
                subject=key,
                name=key,
            )
    _check(draft, PLUGIN, value)
    for key in ("commands", "agents", "skills", "hooks", "mcpServers", "outputStyles"):
        for path in _paths(value.get(key)):
            if ".." in path.split("/"):
                draft.note("path-leaves-plugin", f"{path:.80} leaves it.", subject=path, name=key)
    dependencies = value.get("dependencies")
    for number, entry in enumerate(dependencies if isinstance(dependencies, list) else ()):
        needed = entry.get("name") if isinstance(entry, dict) else entry
        if isinstance(needed, str):
            plugin, _, version = needed.partition("@")
            line = draft.line_of(f"dependencies[{number}]")
            draft.references.append(Reference(ComponentType.PLUGIN, plugin, line, version))


def _paths(value: Any) -> Iterable[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]


def read_marketplace(reading: FileReading, text: str, value: dict[str, Any]) -> None:
    """A `marketplace.json`."""
    name = value.get("name")
    draft = _draft(
        reading,
        ComponentType.PLUGIN,
        f"marketplace {name if isinstance(name, str) else ''}".strip(),
        text,
        value,
    )
    _check(draft, MARKETPLACE, value)
    seen: set[str] = set()
    plugins = value.get("plugins")
    for number, entry in enumerate(plugins if isinstance(plugins, list) else ()):
        if not isinstance(entry, dict):
            continue
        at, plugin = f"plugins[{number}]", entry.get("name")
        if isinstance(plugin, str):
            if plugin in seen:
                draft.note(
                    "duplicate-name", f"{plugin:.60} is there twice.", subject=plugin, name=at
                )
            seen.add(plugin)
        source: Any = entry.get("source")
        if isinstance(source, str) and ".." in source.split("/"):
            draft.note("path-leaves-plugin", f"{source:.80} leaves it.", subject=source, name=at)
        if _is_git(source) and not source.get("sha"):
            draft.note(
                "unpinned-source", f"{plugin!s:.60} has no sha.", subject=str(plugin), name=at
            )
