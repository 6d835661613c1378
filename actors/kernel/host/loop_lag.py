"""Loop lag: how late the timers of an event loop fire.

A timer fires ten times a second and compares its due time with the actual time. Everything
else on the loop is late by as much: handlers, frames, deadlines.
"""

import asyncio
from collections import deque
from typing import Final

__all__ = ["LoopLag"]

PERIOD_S: Final = 0.1
WINDOW_TICKS: Final = 100
"""How many measurements are kept: about ten seconds of them."""


class LoopLag:
    """Measures the lag of one event loop, from `start` to `stop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lags: deque[float] = deque(maxlen=WINDOW_TICKS)
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def start(self) -> None:
        """Start measuring."""
        if self._timer is None:
            self._arm()

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._due_s = self._loop.time() + PERIOD_S
        self._timer = self._loop.call_at(self._due_s, self._tick)

    def _tick(self) -> None:
        self._lags.append(max(0.0, self._loop.time() - self._due_s))
        self._arm()

    def mean_s(self) -> float | None:
        """The mean of the window; None when nothing was measured."""
        return sum(self._lags) / len(self._lags) if self._lags else None

    def max_s(self) -> float | None:
        """The worst of the window; None when nothing was measured."""
        return max(self._lags, default=None)
