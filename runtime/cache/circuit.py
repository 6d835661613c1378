"""A circuit breaker: open after a failure, with probes after a growing delay.

One failure opens it. A failed call has already waited for its whole limit. The next hundred calls
would wait as long for the same result, and such a cache costs more than none.
"""

import enum
from collections.abc import Callable
from typing import Final

from callboard.messages.control.spec import Backoff

__all__ = ["Circuit", "CircuitState"]

BACKOFF: Final = Backoff(min_s=0.1, max_s=5.0, jitter=0.3)
"""With jitter, so that nodes that lost a server together do not all return at once."""


@enum.unique
class CircuitState(enum.Enum):
    """The states of a circuit."""

    CLOSED = "closed"
    """The server answers."""
    OPEN = "open"
    """The server failed: no call goes through."""
    PROBING = "probing"
    """One probe is under way. No other call goes through."""


class Circuit:
    """The state, the number of times that it was entered, and the delay until the next probe."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """`chance` gives a number from 0 to below 1."""
        self.state = CircuitState.CLOSED
        self.entered: Final = dict.fromkeys(CircuitState, 0)
        self._chance = chance
        self.losses = 0
        """How often it changed from closed to open."""
        self._failures = 0

    @property
    def is_closed(self) -> bool:
        """Whether calls go through."""
        return self.state is CircuitState.CLOSED

    def record_failure(self) -> None:
        """Open after a failed call or probe."""
        if self.state is not CircuitState.OPEN:
            self._failures += 1
            self.losses += self.state is CircuitState.CLOSED
            self._enter(CircuitState.OPEN)

    def begin_probe(self) -> None:
        """Begin a probe."""
        self._enter(CircuitState.PROBING)

    def record_success(self) -> None:
        """Close after a probe that succeeded."""
        self._failures = 0
        self._enter(CircuitState.CLOSED)

    def delay_s(self) -> float:
        """The delay until the next probe, doubled with each failure in a row."""
        return BACKOFF.delay_s(max(1, self._failures), self._chance())

    def _enter(self, state: CircuitState) -> None:
        self.state = state
        self.entered[state] += 1
