"""Of callers that want the same thing at the same time, one gets it for all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["LOAD_S_MAX", "SingleFlight"]

LOAD_S_MAX: Final = 8.0
"""How long a load may take. Shorter than a delete's tombstone lasts, so that what was read
before the delete is not cached after it."""


class SingleFlight:
    """Shares loads that are under way, by key, within this process.

    Whoever waits may be cancelled without touching the others; when nobody waits any more the
    load is cancelled too. A failure is raised to all who wait, and not remembered.
    """

    def __init__(self, timeout_s: float = LOAD_S_MAX) -> None:
        self._timeout_s = timeout_s
        self._flights: dict[str, asyncio.Task[bytes | None]] = {}
        self._waiting: dict[str, int] = {}
        self.loads = 0
        """Loads that were begun."""
        self.shared = 0
        """Callers who were given another's load."""
        self.failed = 0
        """Loads that raised, the cancelled ones among them."""

    async def load(self, key: str, load: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        """What `load` gives, or the load of this key that is under way.

        Raises what it raises, and `TimeoutError` when it takes too long.
        """
        flight = self._flights.get(key)
        if flight is None:
            self.loads += 1
            flight = asyncio.ensure_future(self._run(load))
            flight.add_done_callback(lambda done: self._landed(key, done))
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
                    self._leave(key, flight)

    async def _run(self, load: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        async with asyncio.timeout(self._timeout_s):
            return await load()

    def _leave(self, key: str, flight: "asyncio.Task[bytes | None]") -> None:
        # Forgotten at once: who comes now must not join a load that is being cancelled.
        del self._flights[key], self._waiting[key]
        flight.cancel()

    def _landed(self, key: str, flight: "asyncio.Task[bytes | None]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key], self._waiting[key]
        # Looked at here, or a failure that nobody waits for any more would be logged.
        if flight.cancelled() or flight.exception() is not None:
            self.failed += 1

    async def close(self) -> None:
        """Cancel what is under way; who waits for it sees the cancellation."""
        flights: Final = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
