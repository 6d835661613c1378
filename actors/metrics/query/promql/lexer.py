"""Text to tokens. Every character belongs to a token, to white space or to a comment."""

import enum
import re
from typing import Final, NamedTuple

from .syntax import refused

__all__ = ["Token", "TokenKind", "duration_ns", "number_of", "tokens_of"]

CHARACTERS_MAX: Final = 10_000
SECOND_NS: Final = 1_000_000_000
UNITS_NS: Final = {
    "ms": SECOND_NS // 1_000,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3_600 * SECOND_NS,
    "d": 86_400 * SECOND_NS,
    "w": 7 * 86_400 * SECOND_NS,
    "y": 365 * 86_400 * SECOND_NS,
}
DURATION: Final = r"(?:\d+y)?(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m(?!s))?(?:\d+s)?(?:\d+ms)?"
DURATION_PART: Final = re.compile(r"(\d{1,12})(ms|[smhdwy])", re.ASCII)
DURATION_NS_MAX: Final = 100 * UNITS_NS["y"]
"""A time less an offset and a range is still a whole number of 64 bits."""
SIMPLE_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"',
}  # fmt: skip
ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)


@enum.unique
class TokenKind(enum.Enum):
    """What a token is."""

    NUMBER = "a number"
    DURATION = "a duration"
    TEXT = "a text in quotes"
    NAME = "a name"
    SYMBOL = "a symbol"
    END = "the end"


class Token(NamedTuple):
    """One token."""

    kind: TokenKind
    text: str
    """As it stands; of a text in quotes its value."""
    place: int

    @property
    def shown(self) -> str:
        """The token for an error."""
        return "the end" if self.kind is TokenKind.END else repr(self.text[:40])


SCANNER: Final = re.compile(
    rf"""
    (?P<space>[\s]+|\#[^\n]*)
  | (?P<number>0[xX][0-9a-fA-F]+(?![\w.])
             | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<duration>(?=\d){DURATION}(?!\w))
  | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
  | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
  | (?P<symbol>=~|!~|==|!=|>=|<=|[-+*/%^()\[\]{{}},<>=:@])
    """,
    re.VERBOSE | re.ASCII,
)


def tokens_of(text: str) -> list[Token]:
    """The tokens of an expression, with `END` last. Raises `QueryRefused`."""
    if len(text) > CHARACTERS_MAX:
        raise refused(CHARACTERS_MAX, f"it is longer than {CHARACTERS_MAX:,} characters.")
    found: list[Token] = []
    place = 0
    while place < len(text):
        scanned = SCANNER.match(text, place)
        if scanned is None:
            raise _unreadable(text, place)
        group, piece = scanned.lastgroup, scanned.group()
        if group == "text":
            found.append(Token(TokenKind.TEXT, _unquoted(piece, place), place))
        elif group != "space":
            assert group is not None
            found.append(Token(TokenKind[group.upper()], piece, place))
        place = scanned.end()
    found.append(Token(TokenKind.END, "", len(text)))
    return found


def _unreadable(text: str, place: int) -> Exception:
    if text[place] in "\"'`":
        return refused(place, "a text begins here and has no end.", "Close its quotation marks.")
    if text[place].isdigit():
        piece = re.match(r"[\w.]+", text[place:])
        shown = piece.group()[:40] if piece else text[place]
        return refused(
            place, f"{shown!r} is neither a number nor a duration.", "Write 1.5, 5m or 1h30m."
        )
    return refused(place, f"{text[place]!r} has no meaning here.")


def _unquoted(piece: str, place: int) -> str:
    if piece[0] == "`":
        return piece[1:-1]

    def value(found: re.Match[str]) -> str:
        byte, short, long, octal, simple = found.groups()
        if simple is not None:
            if simple not in SIMPLE_ESCAPES:
                raise refused(
                    place + 1 + found.start(),
                    f"{found.group()!r} is no escape sequence.",
                    "Write two backslashes for one, or put the text into back quotes.",
                )
            return SIMPLE_ESCAPES[simple]
        code = int(octal, 8) if octal else int(byte or short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise refused(place + 1 + found.start(), f"{found.group()!r} is no character.")
        return chr(code)

    return ESCAPE.sub(value, piece[1:-1])


def duration_ns(token: Token) -> int:
    """The length of a duration, or of a number of seconds. Raises `QueryRefused`."""
    if token.kind is TokenKind.DURATION:
        parts = DURATION_PART.findall(token.text)
        found = sum(int(count) * UNITS_NS[unit] for count, unit in parts)
        if "".join(map("".join, parts)) != token.text:
            found = DURATION_NS_MAX + 1
    elif token.kind is TokenKind.NUMBER:
        seconds = number_of(token)
        found = round(min(seconds, 1e12) * SECOND_NS)
    else:
        raise refused(
            token.place, f"a duration is missing before {token.shown}.", "Write it as 5m or 1h30m."
        )
    if found > DURATION_NS_MAX:
        raise refused(token.place, f"the duration {token.text[:40]} is longer than 100 years.")
    return found


def number_of(token: Token) -> float:
    """The value of a number."""
    return float(int(token.text, 16)) if token.text[:2].lower() == "0x" else float(token.text)
