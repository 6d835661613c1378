"""Permission rules: `Bash(git status *)`, `Read(//etc/**)`, `mcp__server__*`, and what they decide.

Deny rules come first, then ask, then allow; the first that matches decides, however specific it
is. What nothing matches is asked. The grammar is that of the Claude ecosystem of 2026-08-22.

Everything here fails closed: a deny or ask rule also matches what is uncertain, an allow
rule never does.
"""

import enum
import functools
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import shown

from .shell import command_parts, runs_more_than_shown

__all__ = [
    "EDITS",
    "READS",
    "Effect",
    "PermissionDecision",
    "PermissionRule",
    "Places",
    "decide",
    "parse_rule",
    "rule_problem",
]

RULE: Final = re.compile(r"([A-Za-z][\w.*-]{0,199})(?:\((.*)\))?", re.DOTALL)
RULE_CHARACTERS_MAX: Final = 4_000
READS: Final = frozenset({"Glob", "Grep", "LS", "NotebookRead", "Read"})
EDITS: Final = frozenset({"Edit", "MultiEdit", "NotebookEdit", "Write"})
SHELLS: Final = frozenset({"Bash", "PowerShell"})
DEPTH_MAX: Final = 200
"""A path or a pattern of more folders is not compared."""
PATH_ARGUMENTS: Final = ("file_path", "notebook_path", "path")
PARAMETER: Final = re.compile(r"([A-Za-z_]\w*):(.*)", re.DOTALL)
SUBJECTS: Final[Mapping[str, str]] = {"Agent": "subagent_type", "Skill": "skill"}
"""Tools whose specifier is the text of one argument."""
RENAMED: Final[Mapping[str, str]] = {"Task": "Agent"}


@enum.unique
class Effect(enum.StrEnum):
    """What a rule says."""

    DENY = "deny"
    ASK = "ask"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class PermissionRule:
    """One rule."""

    effect: Effect
    """What it says of the calls that it matches."""
    tool: str
    """The tool; with `*`, several tools of one server."""
    specifier: str | None = None
    """None: any use of the tool."""

    def __str__(self) -> str:
        return self.tool if self.specifier is None else f"{self.tool}({self.specifier})"


class PermissionDecision(NamedTuple):
    """What may be done, and which rule says so."""

    outcome: Literal["allow", "ask", "deny"]
    """`ask` also where no rule matches."""
    rule: PermissionRule | None
    """The rule that decides; of a compound command the last one; None: no rule matches."""


@dataclass(frozen=True, slots=True)
class Places:
    """What paths in rules and arguments are relative to."""

    current: str = "/"
    """The folder of the process."""
    home: str = "/nonexistent"
    """What `~` means."""
    settings: str = "/"
    """The folder of the settings that have the rules."""


def parse_rule(text: str, effect: Effect) -> PermissionRule:
    """The rule in a text. Raises `UsageError`."""
    problem = rule_problem(text, effect)
    if problem:
        raise UsageError(
            f"the {effect} rule {shown(text)} {problem}.",
            advice="Write Tool or Tool(specifier), such as Bash(git status *).",
        )
    tool, specifier = _parsed(text)
    return PermissionRule(effect, RENAMED.get(tool, tool), specifier)


def rule_problem(text: object, effect: Effect) -> str:
    """What is wrong with a rule; empty when nothing is."""
    if not isinstance(text, str) or len(text) > RULE_CHARACTERS_MAX or "\0" in text:
        return "is no text of a usual length"
    found = RULE.fullmatch(text.strip())
    if found is None:
        return "is no Tool and no Tool(specifier)"
    tool, specifier = found.groups()
    if specifier is not None and not specifier.strip():
        return "has an empty specifier"
    if specifier is not None and specifier.count("/") > DEPTH_MAX:
        return f"has more than {DEPTH_MAX} folders"
    if "*" in tool:
        parts = tool.split("__")
        names_server = len(parts) > 2 and parts[0] == "mcp" and parts[1] and "*" not in parts[1]
        if effect is Effect.ALLOW and not names_server:
            return "allows by a pattern without a server: write mcp__server__*"
        if specifier is not None:
            return "has a pattern and a specifier"
    if specifier is not None and tool.startswith("mcp__") and effect is Effect.ALLOW:
        return "has a specifier, which only deny and ask rules of such tools may have"
    return ""


def _parsed(text: str) -> tuple[str, str | None]:
    found = RULE.fullmatch(text.strip())
    assert found is not None, "checked by `rule_problem`"
    tool, specifier = found.groups()
    whole = specifier in ("*", ":*") and tool in SHELLS
    return tool, None if whole else specifier


def decide(
    rules: Iterable[PermissionRule],
    tool: str,
    arguments: Mapping[str, Any],
    places: Places | None = None,
) -> PermissionDecision:
    """Whether a tool may be called with these arguments. Only the effects order the rules."""
    held = tuple(rules)
    tool = RENAMED.get(tool, tool)
    places = places or Places()
    for effect, outcome in ((Effect.DENY, "deny"), (Effect.ASK, "ask")):
        for rule in held:
            if rule.effect is effect and _matches(rule, tool, arguments, places):
                return PermissionDecision("deny" if outcome == "deny" else "ask", rule)
    allowing = [rule for rule in held if rule.effect is Effect.ALLOW]
    if tool in SHELLS:
        return _of_shell(allowing, tool, arguments)
    for rule in allowing:
        if _matches(rule, tool, arguments, places):
            return PermissionDecision("allow", rule)
    return PermissionDecision("ask", None)


def _of_shell(
    rules: Sequence[PermissionRule], tool: str, arguments: Mapping[str, Any]
) -> PermissionDecision:
    """Each part of a compound command needs a rule that allows it."""
    ours = [rule for rule in rules if rule.tool == tool]
    for rule in ours:
        if rule.specifier is None:
            return PermissionDecision("allow", rule)
    command = arguments.get("command")
    if not isinstance(command, str) or runs_more_than_shown(command):
        return PermissionDecision("ask", None)
    last: PermissionRule | None = None
    for part in command_parts(command):
        last = next((rule for rule in ours if _shell_matches(rule.specifier or "", part)), None)
        if last is None:
            return PermissionDecision("ask", None)
    return PermissionDecision("allow" if last else "ask", last)


def _matches(rule: PermissionRule, tool: str, arguments: Mapping[str, Any], places: Places) -> bool:
    """Whether a rule is about a call. Of a shell, whether it is about any part of the command."""
    allows = rule.effect is Effect.ALLOW
    specifier = rule.specifier
    if specifier is None:
        return _names(rule.tool, tool)
    if rule.tool in ("Read", "Edit") and tool in (READS if rule.tool == "Read" else EDITS):
        return _path_matches(specifier, arguments, places, allows=allows)
    if rule.tool != tool or tool in READS | EDITS:
        return False
    if tool in SHELLS:
        command = arguments.get("command")
        if not isinstance(command, str):
            return not allows
        parts = (command, *command_parts(command, within=True))
        return any(_shell_matches(specifier, part) for part in parts)
    if tool == "WebFetch" and specifier.startswith("domain:"):
        return _domain_matches(
            specifier.removeprefix("domain:"), arguments.get("url"), allows=allows
        )
    if tool in SUBJECTS:
        value = arguments.get(SUBJECTS[tool])
        return _shell_matches(specifier, value) if isinstance(value, str) else not allows
    found = None if allows else PARAMETER.fullmatch(specifier)
    if found is None:
        return False
    value = arguments.get(found[1])
    if value is None:
        return False
    return not isinstance(value, str | int | float) or glob(found[2].strip(), str(value))


def _names(named: str, tool: str) -> bool:
    if "*" in named:
        return glob(named, tool)
    if named.startswith("mcp__") and named.count("__") == 1:
        return tool == named or tool.startswith(f"{named}__")
    return named == tool


def _shell_matches(pattern: str, command: str) -> bool:
    """`*` is anything; ` *` and `:*` at the end need a boundary of words."""
    command = " ".join(command.split())
    for ending in (":*", " *"):
        if pattern.endswith(ending):
            pattern = pattern.removesuffix(ending)
            return glob(pattern, command) or glob(f"{pattern} *", command)
    return glob(pattern, command)


def _domain_matches(pattern: str, url: Any, *, allows: bool) -> bool:
    try:
        host = urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        host = None
    if host is None:
        return not allows
    return glob(pattern.strip().lower(), host.lower().rstrip("."))


# --- paths ---------------------------------------------------------------------------------


def _path_matches(
    pattern: str, arguments: Mapping[str, Any], places: Places, *, allows: bool
) -> bool:
    value = next((arguments[name] for name in PATH_ARGUMENTS if name in arguments), None)
    if value is None:
        value = places.current  # Glob and Grep search here when nothing is named.
    if not isinstance(value, str) or "\0" in value or value.count("/") > DEPTH_MAX:
        return not allows
    path = _absolute(value, places)
    root, inner = _rooted(pattern, places)
    if root not in ("/", path) and not path.startswith(root.rstrip("/") + "/"):
        return False
    return gitignore(inner, path.removeprefix(root).strip("/"))


def _absolute(path: str, places: Places) -> str:
    if path == "~" or path.startswith("~/"):
        path = places.home + path[1:]
    return "/" + posixpath.normpath(posixpath.join(places.current, path)).strip("/")


def _rooted(pattern: str, places: Places) -> tuple[str, str]:
    """Where a pattern begins, and the rest of it."""
    for start, root in (("//", "/"), ("~/", places.home), ("/", places.settings)):
        if pattern.startswith(start):
            # The slash stays: the pattern is anchored at its root.
            return root.rstrip("/") or "/", "/" + pattern.removeprefix(start)
    return places.current.rstrip("/") or "/", pattern.removeprefix("./")


def gitignore(pattern: str, path: str) -> bool:
    """Whether a pattern of gitignore names a path, or a folder above it."""
    anchored = "/" in pattern.rstrip("/")
    parts = tuple(part for part in pattern.strip("/").split("/") if part)
    if not anchored:
        parts = ("**", *parts)
    names = tuple(path.split("/")) if path else ()
    return _below(parts, names)


def _below(parts: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the parts of a pattern match the first names; each pair is tried once."""

    @functools.cache
    def matches(part: int, name: int) -> bool:
        if part == len(parts):
            return True  # What is below a matched folder is matched as well.
        if parts[part] == "**":
            return matches(part + 1, name) or (name < len(names) and matches(part, name + 1))
        return name < len(names) and glob(parts[part], names[name]) and matches(part + 1, name + 1)

    return matches(0, 0)


def glob(pattern: str, text: str) -> bool:
    """Whether `*` (anything) and the other characters of a pattern (themselves) match a text.

    The last `*` is the only one to go back to, so the time is at most the product of both lengths.
    """
    at = star = -1
    place = 0
    position = 0
    while position < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, at = place, position
            place += 1
        elif place < len(pattern) and pattern[place] == text[position]:
            place += 1
            position += 1
        elif star >= 0:
            at += 1
            place, position = star + 1, at
        else:
            return False
    return not pattern[place:].strip("*")
