"""Introductions: hosts learn of each other's processes, with one call at a time to each host.

After each call to a host there is a pause, as long as the call took. What comes meanwhile travels
with the next call. So when all hosts of a large system come up, each gets few calls with many
peers, and not two calls for each peer: the more calls a root has to make, the longer each takes,
and at least half of its time is left for other work. The first call to a host leaves at once.

Invariants: calls to a host follow one another; of each slot a host learns the newest process.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from callboard.messages.ports import HostProcess

__all__ = ["Introductions"]

PAUSE_MAX_S: Final = 0.5
"""The longest pause: a host that has hung must soon learn who its peers are."""
Introduction = tuple[int, HostProcess, bool]
"""The epoch of a process, the process, and whether its actors take messages."""


class Introductions:
    """The introductions that are still to be made, by the process that is to learn of them."""

    def __init__(
        self, run_task: Callable[[Coroutine[Any, Any, None]], None], now: Callable[[], float]
    ) -> None:
        self._run_task = run_task
        self._now = now
        self._waiting: dict[HostProcess, dict[int, Introduction]] = {}

    def introduce(
        self,
        slot: int,
        epoch: int,
        process: HostProcess,
        to: Iterable[HostProcess],
        *,
        is_open: bool,
    ) -> None:
        """Tell these processes which one is at a slot now; nothing waits for it."""
        for other in to:
            waiting = self._waiting.get(other)
            if waiting is None:
                waiting = self._waiting[other] = {}
                self._run_task(self._tell(other, waiting))
            waiting[slot] = (epoch, process, is_open)

    async def _tell(self, to: HostProcess, waiting: dict[int, Introduction]) -> None:
        try:
            while waiting:
                taken = dict(waiting)
                waiting.clear()
                began_s = self._now()
                for is_open in (False, True):
                    peers = {
                        slot: (e, p) for slot, (e, p, opened) in taken.items() if opened is is_open
                    }
                    # The successor of a host that dies here connects by itself.
                    with contextlib.suppress(Exception):
                        if peers:
                            await to.connect(peers, is_open=is_open)
                await asyncio.sleep(min(PAUSE_MAX_S, self._now() - began_s))
        finally:
            del self._waiting[to]
