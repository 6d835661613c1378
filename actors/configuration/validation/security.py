"""The third gate: what a configuration does or hides that a person should know of.

Each rule begins with plain texts to look for, since nearly all files have none of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol

from ..formats.draft import Draft
from ..package import ComponentType

__all__ = ["INCOMPLETE", "SecretFound", "SecretScanner", "check_secrets", "check_security"]

INCOMPLETE: Final = "secret-scan-incomplete"
"""The rule of a `SecretFound` that says that a scan has not ended."""
TEXT_FINDINGS_MAX: Final = 20
"""Of one rule in one file."""
BIDIRECTIONAL: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
INVISIBLE: Final = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2064\u206a-\u206f\ufeff\U000e0000-\U000e007f]"
)
JOINERS: Final = re.compile("(?<=[\\x00-\\x7f])[\u200c\u200d](?=[\\x00-\\x7f])")
"""Joiners between letters of ASCII, where they join nothing."""
FETCH: Final = r"(?:curl|wget|iwr|irm|Invoke-WebRequest|Invoke-RestMethod)\b"
SHELL: Final = (
    r"(?:sudo\s+(?:-\S+\s+)*)?(?:/\S*/)?(?:env\s+)?"
    r"(?:ba|z|k|da|fi)?sh\b|python[\d.]*\b|node\b|perl\b|ruby\b|iex\b|IEX\b|Invoke-Expression\b"
)
PIPED: Final = re.compile(rf"{FETCH}[^\n|]{{0,400}}\|\s*(?:{SHELL})")
WRAPPED: Final = re.compile(
    rf"(?:(?:ba|z|da)?sh\s+(?:-c\s+[\"']?\$\(|<\()|source\s+<\(|eval\s+[\"']?\$\(|(?:iex|IEX)\s*\()\s*{FETCH}",
)
HOME: Final = re.compile(r"(?:/(?:Users|home)/|[A-Za-z]:\\{1,2}Users\\{1,2})([A-Za-z0-9._-]{2,40})")
NOBODY: Final = frozenset(
    """
    user username you your youruser yourname your-name your_name yourusername your-username me name
    myuser myname user1 example someone somebody test demo admin dev developer runner runneradmin
    ubuntu vscode node app appuser claude agent public shared default jovyan linuxbrew git deploy
    foo bar alice bob john jane johndoe
    """.split()  # noqa: SIM905 - a list of forty lines says no more
)
SHELL_LINE: Final = re.compile(r"(?<![\w`])!`([^`\n]+)`")
SHELL_BLOCK: Final = re.compile(r"^```!", re.MULTILINE)
SKIPS_QUESTIONS: Final = "--dangerously-skip-permissions"
WHOLE_SHELLS: Final = frozenset({"Bash", "Bash(*)", "Bash(:*)", "Bash(**)"})


class SecretFound(NamedTuple):
    """One secret in a text. The secret itself is nowhere."""

    rule: str
    """The form of the secret."""
    line: int
    """From 1 on."""
    shown: str
    """What it is, with all but its first characters left out."""


class SecretScanner(Protocol):
    """Finds secrets in texts."""

    def scan(self, text: str) -> Iterable[SecretFound]:
        """The secrets of a text. Raises nothing."""


def check_security(draft: Draft) -> None:
    """Add the findings of this gate, without those of secrets."""
    if draft.text:
        for rule, found in _in_text(draft.text):
            draft.note(rule, found.message, subject=found.subject, line=found.line)
    if draft.type in (ComponentType.AGENT, ComponentType.COMMAND, ComponentType.SKILL):
        _of_prompt(draft)
    elif draft.type is ComponentType.PERMISSIONS:
        for rule in _texts(draft.fields.get("allow")):
            if rule.replace(" ", "") in WHOLE_SHELLS:
                draft.note("unrestricted-bash", "any command is allowed.", name="permissions.allow")
    elif draft.type is ComponentType.PLUGIN:
        for key in ("hooks", "monitors", "lspServers", "mcpServers"):
            if draft.fields.get(key):
                draft.note("helper-runs-code", f"{key} run code.", subject=key, name=key)


def check_secrets(draft: Draft, scanner: SecretScanner) -> None:
    """Add a finding for each secret."""
    for number, found in enumerate(scanner.scan(draft.text) if draft.text else ()):
        if number == TEXT_FINDINGS_MAX:
            return
        rule = "secret" if found.rule != INCOMPLETE else INCOMPLETE
        draft.note(rule, f"{found.shown}.", subject=found.rule, line=found.line)


def _of_prompt(draft: Draft) -> None:
    field = "tools" if draft.type is ComponentType.AGENT else "allowed-tools"
    if any(tool.replace(" ", "") in WHOLE_SHELLS for tool in draft.tools):
        draft.note("unrestricted-bash", "any command is allowed.", name=field)
    if draft.fields.get("permissionMode") == "bypassPermissions":
        draft.note("bypass-permissions", "nothing is asked in this mode.", name="permissionMode")
    if draft.fields.get("hooks"):
        draft.note("hook-runs-code", "it has hooks of its own.", name="hooks")
    if isinstance(draft.fields.get("mcpServers"), list | dict):
        for server in _servers(draft.fields["mcpServers"]):
            if "headersHelper" in server:
                draft.note("headers-helper", "a command makes the headers.", name="mcpServers")
    if draft.type is ComponentType.AGENT:
        return
    first = SHELL_LINE.search(draft.body) or SHELL_BLOCK.search(draft.body)
    if first is not None:
        line = draft.body_line + draft.body.count("\n", 0, first.start())
        count = len(SHELL_LINE.findall(draft.body)) + len(SHELL_BLOCK.findall(draft.body))
        draft.note("shell-injection", f"{count} shell commands, such as {first[0]:.80}.", line=line)


def _servers(value: Any) -> Iterator[Mapping[str, Any]]:
    maps = value if isinstance(value, list) else [value]
    for one in maps:
        for server in one.values() if isinstance(one, dict) else ():
            if isinstance(server, dict):
                yield server


def _texts(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else ():
        if isinstance(one, str):
            yield one


# --- texts ---------------------------------------------------------------------------------


class _Found(NamedTuple):
    line: int
    message: str
    subject: str = ""


def _in_text(text: str) -> Iterator[tuple[str, _Found]]:
    for rule, is_possible, find in TEXT_RULES:
        if not is_possible(text):
            continue
        last, line = 0, 1
        for number, found in enumerate(find(text)):
            if number == TEXT_FINDINGS_MAX:
                break
            line += text.count("\n", last, found.start())
            last = found.start()
            yield rule, _Found(line, *_said(rule, found))


def _said(rule: str, found: "re.Match[str]") -> tuple[str, str]:
    match rule:
        case "bidirectional-characters" | "invisible-characters":
            code = f"U+{ord(found[0][0]):04X}"
            return f"the character {code} is not seen.", code
        case "home-path":
            return f"{found[0]:.80} is a folder of one person.", found[1]
        case "bypass-permissions":
            return f"{SKIPS_QUESTIONS} is in the text.", ""
        case _:
            return f"{' '.join(found[0].split()):.120}.", ""


def _invisible(text: str) -> Iterator["re.Match[str]"]:
    yield from INVISIBLE.finditer(text)
    yield from JOINERS.finditer(text)


def _homes(text: str) -> Iterator["re.Match[str]"]:
    for found in HOME.finditer(text):
        if found[1].strip(".-_").lower() not in NOBODY:
            yield found


def _downloads(text: str) -> Iterator["re.Match[str]"]:
    yield from PIPED.finditer(text)
    yield from WRAPPED.finditer(text)


def _skips(text: str) -> Iterator["re.Match[str]"]:
    yield from re.finditer(SKIPS_QUESTIONS, text)


TextRule = tuple[str, Callable[[str], bool], Callable[[str], Iterator["re.Match[str]"]]]
TEXT_RULES: Final[tuple[TextRule, ...]] = (
    ("bidirectional-characters", lambda text: not text.isascii(), BIDIRECTIONAL.finditer),
    ("invisible-characters", lambda text: not text.isascii(), _invisible),
    (
        "download-piped-to-shell",
        lambda text: any(
            word in text for word in ("curl", "wget", "iwr", "irm", "Invoke-", "invoke-")
        ),
        _downloads,
    ),
    (
        "home-path",
        lambda text: "/Users/" in text or "/home/" in text or "\\Users\\" in text,
        _homes,
    ),
    ("bypass-permissions", lambda text: SKIPS_QUESTIONS in text, _skips),
)
