"""Fencing tokens as numbers: a term, which the root gives, and a count within it.

A token is positive and fits a signed integer of 64 bits (SQLite's integer, PostgreSQL's bigint).
Two tokens of one term come from processes that the root has not replaced by each other.
"""

from typing import Final

__all__ = ["TERM_SHIFT", "is_replaced"]

TERM_SHIFT: Final = 22
"""The bits of a token below its term: 4 million incarnations. A process that starts more of them
in one term goes on upwards, and is still slower than the clock that the terms follow."""


def is_replaced(fence: int, newest: int) -> bool:
    """Whether a writer with this token has been replaced, when `newest` is the newest seen.

    Without a token (0), as of a driver or a command, it has not.
    """
    return fence > 0 and fence >> TERM_SHIFT < newest >> TERM_SHIFT
