"""One load for all callers that want the same key at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

__all__ = ["LOAD_S_MAX", "SingleFlight"]

ValueT = TypeVar("ValueT")
LOAD_S_MAX: Final = 8.0
"""The limit for a load. It is shorter than the tombstone of a delete, so that a value read before
the delete is not cached after it."""


class SingleFlight(Generic[ValueT]):
    """Shares loads that are under way, by key, within this process.

    A caller may be cancelled without effect on the others. When no caller is left, the load is
    cancelled too. A failure is raised to all callers, and not remembered.
    """

    def __init__(self, timeout_s: float = LOAD_S_MAX) -> None:
        self._timeout_s = timeout_s
        self._flights: dict[str, asyncio.Task[ValueT]] = {}
        self._waiting: dict[str, int] = {}
        self.loads = 0
        """Loads begun."""
        self.shared = 0
        """Callers that shared the load of another."""
        self.failed = 0
        """Loads that raised or were cancelled."""

    async def load(self, key: str, load: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """The result of `load`, or of the load of this key that is under way.

        Raises what the load raises, and `TimeoutError` when it takes too long.
        """
        flight = self._flights.get(key)
        if flight is None:
            self.loads += 1
            flight = asyncio.ensure_future(self._run(load))
            flight.add_done_callback(lambda done: self._finish(key, done))
            self._flights[key] = flight
            self._waiting[key] = 0
        else:
            self.shared += 1
        self._waiting[key] += 1
        try:
            return await asyncio.shield(flight)
        finally:
            if self._flights.get(key) is flight:
                self._waiting[key] -= 1
                if not self._waiting[key]:
                    self._abandon(key, flight)

    async def _run(self, load: Callable[[], Awaitable[ValueT]]) -> ValueT:
        async with asyncio.timeout(self._timeout_s):
            return await load()

    def _abandon(self, key: str, flight: "asyncio.Task[ValueT]") -> None:
        # Removed at once, so that no new caller joins a load that is being cancelled.
        del self._flights[key], self._waiting[key]
        flight.cancel()

    def _finish(self, key: str, flight: "asyncio.Task[ValueT]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key], self._waiting[key]
        # Retrieved here, because asyncio logs a failure that no caller has retrieved.
        if flight.cancelled() or flight.exception() is not None:
            self.failed += 1

    async def close(self) -> None:
        """Cancel all loads. Their callers see the cancellation."""
        flights: Final = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
