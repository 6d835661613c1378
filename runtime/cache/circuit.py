"""When to leave a server alone: open after a failure, tried again with a growing delay.

One failure opens it. A call that fails has waited for its whole bound; the next hundred would
wait as long for the same answer, and a cache that is asked in vain costs more than none.
"""

import enum
from collections.abc import Callable
from typing import Final

from callboard.messages.control.spec import Backoff

__all__ = ["Circuit", "CircuitState"]

BACKOFF: Final = Backoff(min_s=0.1, max_s=5.0, jitter=0.3)
"""Nodes that lost a server together do not all come back to it at once."""


@enum.unique
class CircuitState(enum.Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    """The server answers."""
    OPEN = "open"
    """It did not: nobody asks it."""
    PROBING = "probing"
    """One probe is under way, everybody else still leaves it alone."""


class Circuit:
    """The state, how often it was entered, and how long to wait until the next probe."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """`chance` gives a number from 0 to below 1."""
        self.state = CircuitState.CLOSED
        self.entered: Final = dict.fromkeys(CircuitState, 0)
        self._chance = chance
        self.losses = 0
        """How often it opened after it was closed."""
        self._failures = 0

    @property
    def is_closed(self) -> bool:
        """Whether calls go through."""
        return self.state is CircuitState.CLOSED

    def failed(self) -> None:
        """A call or the probe has failed."""
        if self.state is not CircuitState.OPEN:
            self._failures += 1
            self.losses += self.state is CircuitState.CLOSED
            self._enter(CircuitState.OPEN)

    def probes(self) -> None:
        """A probe begins."""
        self._enter(CircuitState.PROBING)

    def answered(self) -> None:
        """The probe has succeeded."""
        self._failures = 0
        self._enter(CircuitState.CLOSED)

    def delay_s(self) -> float:
        """How long to leave the server alone now: doubled with each failure in a row."""
        return BACKOFF.delay_s(max(1, self._failures), self._chance())

    def _enter(self, state: CircuitState) -> None:
        self.state = state
        self.entered[state] += 1
