"""Commands of a shell as permission rules see them: the parts of a compound command.

This is no shell. It splits at operators outside of quotes, and says when a command may run more
than it shows.
"""

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["command_parts", "runs_more_than_shown"]

OPERATORS: Final = ("&&", "||", ";;", "|&", "&>>", "&>", ">&", "<&", ";", "|", "&", "\n")
REDIRECTIONS: Final = frozenset({"&>>", "&>", ">&", "<&"})
HIDDEN: Final = ("$(", "`", "<(", ">(", "<<", "${")
QUOTES: Final = str.maketrans("", "", "'\"\\")
PARTS_MAX: Final = 200
INNER: Final = re.compile(r"[$<>]\(([^()]{1,2000})\)|`([^`]{1,2000})`")
ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=(?:'[^']*'|\"[^\"]*\"|[^\s'\"]*)\s+")
WRAPPER: Final = re.compile(
    r"(?:timeout(?:\s+-\S+)*\s+\d\S*|nice(?:\s+-n\s+-?\d+|\s+-\d+)?|stdbuf(?:\s+-\S+)+"
    r"|time(?:\s+-p)?|nohup|command|builtin|noglob|xargs)\s+(?=[^\s-])"
)
WRAPPERS_MAX: Final = 20
WRITES: Final = re.compile(r">>?\|?\s*(?!\s|&?\d\b|/dev/null\b)")


def command_parts(command: str, *, within: bool = False) -> Iterator[str]:
    """The simple commands of a command, without wrappers such as `timeout 5`.

    `within` is for rules that forbid: it adds what stands in substitutions and after assignments.
    """
    for part in _split(command):
        bare = _unwrapped(part)
        yield bare
        if within:
            yield part
            yield from _without_assignments(bare)
            # A shell runs `r\m` and `"rm"` as rm.
            unquoted = _unwrapped(part.translate(QUOTES))
            yield unquoted
            yield from _without_assignments(unquoted)
    if within:
        for number, found in enumerate(INNER.finditer(command)):
            if number == PARTS_MAX:
                break
            yield from command_parts(found[1] or found[2], within=False)


def runs_more_than_shown(command: str) -> bool:
    """Whether a command has substitutions, writes into files, or is too long to take apart.

    No pattern can allow such a command; only a rule for the whole tool can.
    """
    return (
        any(sign in command for sign in HIDDEN)
        or WRITES.search(command) is not None
        or sum(1 for _ in _split(command)) >= PARTS_MAX
        or command.count("'") % 2 == 1
        or command.count('"') % 2 == 1
    )


def _split(command: str) -> Iterator[str]:
    quote = ""
    start = position = parts = 0
    while position < len(command) and parts < PARTS_MAX:
        character = command[position]
        if quote:
            if character == "\\" and quote == '"':
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "\\":
            position += 1
        else:
            operator = next((sign for sign in OPERATORS if command.startswith(sign, position)), "")
            if operator and operator not in REDIRECTIONS:
                if command[start:position].strip():
                    yield command[start:position].strip()
                    parts += 1
                start = position + len(operator)
            position += max(len(operator) - 1, 0)
        position += 1
    if command[start:].strip():
        yield command[start:].strip().strip("(){}").strip()


def _unwrapped(part: str) -> str:
    part = part.strip("(){} \t")
    for _ in range(WRAPPERS_MAX):
        found = WRAPPER.match(part)
        if found is None:
            break
        part = part[found.end() :]
    return part


def _without_assignments(part: str) -> Iterator[str]:
    for _ in range(WRAPPERS_MAX):
        found = ASSIGNMENT.match(part)
        if found is None:
            return
        part = _unwrapped(part[found.end() :])
        yield part
