"""Sockets that have not said who they are: few at a time, in all and from one address.

One too many waits for its turn, before its WebSocket is accepted. So a storm of clients that come
back is served in order, and a stranger with many silent sockets delays those of his address only.
"""

import asyncio
from collections import Counter, deque
from typing import Final, NamedTuple

from ..settings import WebLimits

__all__ = ["UnknownSockets"]

WAITING_MAX: Final = 4_000
"""Sockets that wait for their turn."""
LOCAL: Final = frozenset({"127.0.0.1", "::1", ""})
"""Addresses that all programs of this machine share, as do peers of a Unix socket."""


class _Waiting(NamedTuple):
    address: str
    turn: asyncio.Future[None]


class UnknownSockets:
    """Counts them. Use it on one event loop."""

    def __init__(self, limits: WebLimits) -> None:
        self._limits: Final = limits
        self._by_address: Final[Counter[str]] = Counter()
        self._count = 0
        self._waiting: Final[deque[_Waiting]] = deque()

    async def enter(self, address: str) -> bool:
        """Wait for a turn; False if there is none in time. After True, call `leave` once."""
        if not self._waiting and self._has_room(address):
            self._take(address)
            return True
        if len(self._waiting) >= WAITING_MAX:
            return False
        waiting = _Waiting(address, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._admit()
        try:
            async with asyncio.timeout(self._limits.unknown_s):
                await waiting.turn
        except TimeoutError:
            return self._withdraw(waiting)
        except asyncio.CancelledError:
            if self._withdraw(waiting):
                self.leave(address)
            raise
        return True

    def leave(self, address: str) -> None:
        """The socket is known now, or gone."""
        self._count -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        self._admit()

    def _withdraw(self, waiting: _Waiting) -> bool:
        """Whether its turn had come in the same moment."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            return False
        return True

    def _admit(self) -> None:
        for waiting in tuple(self._waiting):
            if self._count >= self._limits.unknown_max:
                return
            if self._has_room(waiting.address):
                self._waiting.remove(waiting)
                self._take(waiting.address)
                if not waiting.turn.done():
                    waiting.turn.set_result(None)

    def _has_room(self, address: str) -> bool:
        most = self._limits.unknown_max
        if self._count >= most:
            return False
        own = most if address in LOCAL else self._limits.unknown_per_address_max
        return self._by_address[address] < own

    def _take(self, address: str) -> None:
        self._count += 1
        self._by_address[address] += 1
