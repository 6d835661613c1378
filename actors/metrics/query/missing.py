"""Answers that lack something: allowed by whoever asks, and never in silence.

A reader that cannot read a part of what is stored has two ways. Whoever has allowed it gets the
rest, and the names of what is missing. For everybody else the query fails.

    with allow_missing() as missing:
        rows = await reader.windows(…)
    if missing: …  # `rows` lacks the windows of these segments.
"""

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Final

__all__ = ["allow_missing", "note_missing"]

NOTED: Final[ContextVar[set[str] | None]] = ContextVar("missing_noted", default=None)


@contextlib.contextmanager
def allow_missing() -> Iterator[set[str]]:
    """Let queries in this block answer without segments that cannot be read; gives their names.

    It holds for this task, and for tasks that begin in the block.
    """
    missing: set[str] = set()
    token = NOTED.set(missing)
    try:
        yield missing
    finally:
        NOTED.reset(token)


def note_missing(names: Iterable[str]) -> bool:
    """Note what an answer lacks; False when nobody has allowed that, and the query must fail."""
    missing = NOTED.get()
    if missing is None:
        return False
    missing.update(names)
    return True
