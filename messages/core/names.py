"""Names and ids: the one rule for texts that name something, and keys made of several of them.

A name comes from a user or from outside, and goes into files, keys, logs and terminals. So each
edge calls `check_name` once, and nothing behind the edge checks it again. Names may have spaces,
quotes and any letters: who shows one in a command quotes it.
"""

import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .errors import CallboardError, SpecError

__all__ = [
    "NAME_BYTES_MAX",
    "check_name",
    "escaped",
    "joined",
    "problem_of",
    "problems_of",
    "shell_command",
    "shown",
]

NAME_BYTES_MAX: Final = 1_000
"""The longest name in UTF-8: PostgreSQL cannot index a text of more than about 2,700 bytes."""
SHOWN_CHARS_MAX: Final = 80
"""A longer name is cut in messages."""
ADVICE: Final = "A name is a text of letters, digits, spaces and signs, without control characters."
WRONG_CATEGORIES: Final[Mapping[str, str]] = {
    "Cc": "a control character",
    "Cs": "a lone surrogate, which has no encoding,",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
TURNS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of a text, so that a terminal shows another one."""
ESCAPES: Final = str.maketrans({"%": "%25", "/": "%2F"})


def check_name(
    what: str,
    name: object,
    *,
    without: str = "",
    bytes_max: int = NAME_BYTES_MAX,
    error: type[CallboardError] = SpecError,
    **details: Any,
) -> str:
    """Check a name, and return it. `what` says what it names: an error begins with it.

    A name is a text of 1 to `bytes_max` bytes in UTF-8. It has no control characters (so no line
    break and no NUL), no lone surrogates, no characters that turn the direction of text, and none
    of the characters in `without`. Raises `error`, with these `details`.
    """
    problem = problem_of(name, without=without, bytes_max=bytes_max)
    if problem is not None:
        raise error(f"{what} {shown(name)} {problem}.", advice=ADVICE, **details)
    assert isinstance(name, str), "it has no problem"
    return name


def problem_of(name: object, *, without: str = "", bytes_max: int = NAME_BYTES_MAX) -> str | None:
    """What is wrong with a name, as the end of a sentence; None for a good one."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not a text"
    if not name:
        return "is empty"
    if not (name.isascii() and name.isprintable()) or any(map(name.__contains__, without)):
        for place, character in enumerate(name, start=1):
            wrong = _problem_of_character(character, without)
            if wrong:
                return f"has {wrong} at place {place}, U+{ord(character):04X}"
    size = len(name.encode())
    return f"has {size} bytes, the limit is {bytes_max}" if size > bytes_max else None


def problems_of(names: Sequence[Any]) -> list[tuple[Any, str]]:
    """The names that are wrong, each with its problem. Cheap for many good ones."""
    try:
        text, sizes = "".join(names), list(map(len, names))
    except TypeError:
        pass
    else:
        # One look at all of them. The characters of a long name that is not ASCII are not bytes.
        if (
            text.isascii()
            and text.isprintable()
            and 0 < min(sizes, default=1) <= max(sizes, default=1) <= NAME_BYTES_MAX
        ):
            return []
    found = ((name, problem_of(name)) for name in names)
    return [(name, problem) for name, problem in found if problem is not None]


def _problem_of_character(character: str, without: str) -> str:
    if character in without:
        return f"the character {character!r}"
    if character in TURNS:
        return "a character that turns the direction of the text"
    return WRONG_CATEGORIES.get(unicodedata.category(character), "")


def shown(name: object) -> str:
    """A name for a message, whatever it is: quoted, with escapes, and cut."""
    text = repr(name[: SHOWN_CHARS_MAX + 1] if isinstance(name, str) else name)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "..."


def joined(*names: str) -> str:
    """One key of several names, joined by slashes: other names give another key.

    Slashes and percent signs in the names are escaped; a name without them stays as it is.
    """
    return "/".join([escaped(name) for name in names])


def escaped(name: str) -> str:
    """A name as a part of a joined key."""
    return name.translate(ESCAPES) if "/" in name or "%" in name else name


def shell_command(command: str, *arguments: str, options: Sequence[str] = ()) -> str:
    """A command to paste into a shell, in which each argument is one word, whatever it holds."""
    dashes = ["--"] if any(argument.startswith("-") for argument in arguments) else []
    return " ".join([command, *map(_quoted, options), *dashes, *map(_quoted, arguments)])


def _quoted(word: str) -> str:
    if problem_of(word) is None or not word:
        return shlex.quote(word)
    # A name of an earlier release. In $'...' bash, zsh and ksh read escapes.
    try:
        data = word.encode("utf-8", "surrogateescape")  # As the arguments of a program come.
    except UnicodeEncodeError:
        data = word.encode("utf-8", "surrogatepass")
    parts = map(_escape, data)
    return f"$'{''.join(parts)}'"


def _escape(byte: int) -> str:
    character = chr(byte)
    if character in "\\'":
        return "\\" + character
    return character if character.isascii() and character.isprintable() else f"\\x{byte:02x}"
