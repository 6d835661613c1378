"""Patterns for the values of tags, checked so that no value of a tag makes one take long."""

import re
from typing import Final

from .syntax import refused

__all__ = ["checked_pattern"]

CHARACTERS_MAX: Final = 1_000
REPEAT_COST: Final = 1_000
"""About as many ways as an unbounded repeat has to match a part of a tag's value."""
COST_MAX: Final = REPEAT_COST**3
"""Enough for `.*one.*two.*`."""
PIECES: Final = re.compile(
    r"\\(?P<escaped>.)|\[\^?(?P<members>\]?(?:[^\]\\]|\\.)*)(?:\]|\Z)"
    r"|(?P<begin>\((?:\?:|\?i:)?)(?P<special>\?)?|(?P<end>\)(?P<again>[*+{])?)|(?P<bar>\|)"
    r"|(?P<repeat>[*+]\??|\{\d*,\d*\}\??)|(?P<option>\?)|.",
    re.DOTALL,
)
NOT_YET: Final = re.compile(r"\[|--|&&|~~|\|\|")
"""What Python warns of inside a class: it may mean something else one day."""
GROUP_ADVICE: Final = "Write a character, '.' or a class such as [a-z] before '*', '+' and '{…}'."


def checked_pattern(pattern: str, place: int) -> None:
    """Raise `QueryRefused` unless Python reads the pattern, and matches it in short time.

    Prometheus matches patterns by a machine that never goes back. Python's goes back, and may
    take for ever. So a group may not be repeated, and the number of ways is bounded.
    """
    if len(pattern) > CHARACTERS_MAX:
        raise refused(place, f"the pattern is longer than {CHARACTERS_MAX:,} characters.")
    for piece in PIECES.finditer(pattern):
        if NOT_YET.search(piece["members"] or ""):
            raise refused(
                place, f"the class {piece.group()[:40]} is unclear.", "Escape characters: \\[."
            )
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise refused(place, f"the pattern cannot be read: {error}.") from None
    if _ways(pattern, place) > COST_MAX:
        raise refused(
            place, "the pattern has too many repeats and choices.", "Use at most three of '*', '+'."
        )


def _ways(pattern: str, place: int) -> int:
    """About how many ways there are to match: a product in a row, a sum over alternatives."""
    groups = [[0, 1]]
    for piece in PIECES.finditer(pattern):
        found = piece.groupdict()
        if (found["escaped"] or "").isdigit():
            raise refused(place, f"the pattern refers back to a group: {piece.group()}.")
        if found["special"]:
            raise refused(
                place,
                "the pattern has a special group.",
                "Only (…), (?:…) and (?i:…) are understood.",
            )
        if found["again"]:
            raise refused(place, "the pattern repeats a group.", GROUP_ADVICE)
        if found["begin"]:
            groups.append([0, 1])
        elif found["end"]:
            group = groups.pop()
            groups[-1][1] *= sum(group)
        elif found["bar"]:
            groups[-1] = [sum(groups[-1]), 1]
        elif found["repeat"]:
            groups[-1][1] *= REPEAT_COST
        elif found["option"]:
            groups[-1][1] *= 2
    return sum(groups[0])
