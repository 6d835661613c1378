"""Rows: the messages of one link that cannot be written yet, in order. Pure."""

from collections import deque
from typing import Any, Final, NamedTuple

from callboard.messages.contract import Contract

__all__ = ["Row", "Waiting"]

SWEEP_MIN: Final = 1_024
"""A row of so many is looked through for what has expired."""


class Waiting(NamedTuple):
    """A message that cannot be written yet."""

    kind: int
    target: int
    correlation: int
    message: Contract
    deadline_s: float
    future: Any
    """An `AskFuture` or another `Call` for an ask, a plain future for a send, or None."""


class Row(deque[Waiting]):
    """Messages that wait, in order. What has expired is swept out before it piles up."""

    __slots__ = ("_sweep_at", "tells")

    def __init__(self) -> None:
        super().__init__()
        self._sweep_at = SWEEP_MIN
        self.tells = 0
        """How many have nobody who waits for them, so that only a limit bounds them."""

    def put(self, item: Waiting) -> None:
        """Add a message behind the others."""
        self.append(item)
        if item.future is None:
            self.tells += 1
        elif len(self) >= self._sweep_at:
            living = [old for old in self if old.future is None or not old.future.done()]
            self.clear()
            self.extend(living)
            self._sweep_at = max(SWEEP_MIN, 2 * len(living))

    def take(self) -> Waiting:
        """The message that has waited longest."""
        item = self.popleft()
        if item.future is None:
            self.tells -= 1
        return item

    def put_first(self, row: "Row") -> None:
        """Add messages before the others, in their order."""
        self.extendleft(reversed(row))
        self.tells += row.tells
