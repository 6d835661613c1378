"""The actors of a host that failed lately, and those that ended for good.

Ended actors are in two rings, so that a flood of normal ends does not remove the failures.
All of it is bounded, and written only at the end of an incarnation.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from callboard.messages.control.lifecycle import Exit

from ..cell_port import CellPort

__all__ = ["ENDED_MAX", "FAILED_MAX", "Ended", "EndedActors"]

FAILED_MAX: Final = 256
"""Living actors that failed lately; a view of the tree shows them first."""
ENDED_MAX: Final = 256
"""Ended actors in each of the two rings."""


class Ended(NamedTuple):
    """An actor that ended for good."""

    cell: int
    path: str
    kind: str
    incarnation: int
    at_s: float
    reason: Exit
    history: tuple[Any, ...]
    """The entries of its supervisor's history, oldest first."""


class EndedActors:
    """A host's record of ended actors."""

    def __init__(self) -> None:
        self.deaths = 0
        """Incarnations that ended abnormally, since the start."""
        self.failed_at_s: Final[dict[int, float]] = {}
        """The time of each cell's last failure, the newest at the end."""
        self._failed: deque[Ended] = deque(maxlen=ENDED_MAX)
        self._ended: deque[Ended] = deque(maxlen=ENDED_MAX)

    def record_failure(self, cell: CellPort, reason: Exit, at_s: float) -> None:
        """Record the end of an incarnation, or a failed start."""
        if not reason.is_abnormal:
            return
        self.deaths += 1
        self.failed_at_s.pop(cell.id, None)
        self.failed_at_s[cell.id] = at_s
        if len(self.failed_at_s) > FAILED_MAX:
            del self.failed_at_s[next(iter(self.failed_at_s))]

    def record_end(
        self, cell: CellPort, reason: Exit, at_s: float, history: tuple[Any, ...]
    ) -> None:
        """Record a cell that has ended for good."""
        self.failed_at_s.pop(cell.id, None)
        ring = self._failed if reason.is_abnormal or history else self._ended
        kind = cell.behaviour.actor.__qualname__
        ring.append(Ended(cell.id, cell.path, kind, cell.incarnation, at_s, reason, history))

    def entries(self) -> Iterator[Ended]:
        """The actors that ended for good: failed ones, then the others, newest first."""
        yield from reversed(self._failed)
        yield from reversed(self._ended)
