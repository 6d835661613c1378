"""Sockets that have not said who they are: few at a time, in all and from one address.

One too many waits for its turn, before its WebSocket is accepted. So a storm of clients that come
back is served in order, and a stranger with many silent sockets delays those of his address only.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from ..settings import WebLimits

__all__ = ["UnknownSockets"]

WAITING_MAX: Final = 4_000
"""Sockets that wait for their turn."""
WAITING_PER_ADDRESS_MAX: Final = 1_000
"""The same from one address, so that it leaves room for others."""
LOCAL: Final = frozenset({"127.0.0.1", "::1", ""})
"""Addresses that all programs of this machine share, as do peers of a Unix socket."""


class _Address:
    """The sockets of one address."""

    def __init__(self, count_max: int) -> None:
        self.turns: Final = asyncio.Semaphore(count_max)
        self.count = 0
        """Those that wait or have their turn."""


class UnknownSockets:
    """Counts them. Use it on one event loop."""

    def __init__(self, limits: WebLimits) -> None:
        self._limits: Final = limits
        self._turns: Final = asyncio.Semaphore(limits.unknown_max)
        self._addresses: Final[dict[str, _Address]] = {}
        self._count = 0

    async def enter(self, name: str) -> Callable[[], None] | None:
        """Wait for a turn; None if there is none in time.

        Call what it gives when the socket is known or gone; only the first call counts.
        """
        limits = self._limits
        if self._count >= limits.unknown_max + WAITING_MAX:
            return None
        is_local = name in LOCAL
        most = limits.unknown_max if is_local else limits.unknown_per_address_max
        address = self._addresses.setdefault(name, _Address(most))
        if not is_local and address.count >= most + WAITING_PER_ADDRESS_MAX:
            return None
        self._count += 1
        address.count += 1
        with contextlib.ExitStack() as stack:
            stack.callback(self._forget, name)
            try:
                async with asyncio.timeout(limits.unknown_s):
                    # The address first: its sockets wait for each other, and not before others.
                    for turns in (address.turns, self._turns):
                        await turns.acquire()
                        stack.callback(turns.release)
            except TimeoutError:
                return None
            return stack.pop_all().close

    def _forget(self, name: str) -> None:
        address = self._addresses[name]
        self._count -= 1
        address.count -= 1
        if not address.count:
            del self._addresses[name]
