"""Frames for processes that cannot be called: they wait until they are pulled.

A driver is no Ray actor. It keeps one pull outstanding at each host and at the root, and
the frames for it leave with the answer.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from callboard.messages.core.errors import HostLost

__all__ = ["PullCarrier", "Pulls"]


class PullCarrier:
    """Lets frames wait for the next pull of a driver."""

    def __init__(self) -> None:
        self._frames: deque[tuple[bytes, Sequence[Any], asyncio.Future[None]]] = deque()
        self._waiting: asyncio.Future[bool] | None = None
        """Of the newest pull: whether it is to take what there is."""
        self._closed = False

    def write(self, frame: bytes) -> bool:
        """A pull takes frames along; there may be none outstanding."""
        return False

    def close(self) -> None:
        """Let go of who waits: nobody pulls, and nothing is sent, any more."""
        self._closed = True
        self._wake()
        while self._frames:
            _, _, gone = self._frames.popleft()
            if not gone.done():
                gone.set_result(None)

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Returns once the frame is on its way with a pull; loss is the link's business."""
        if self._closed:
            raise HostLost("the driver has left.")
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._frames.append((frame, references, gone))
        self._wake()
        await gone
        return b"", ()

    def _wake(self, *, takes: bool = True) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(takes)

    async def take(self) -> list[tuple[bytes, Sequence[Any]]]:
        """All frames that wait; waits for one.

        None when it was closed, or when somebody else takes: whoever took before has lost
        its caller.
        """
        self._wake(takes=False)
        if not self._frames and not self._closed:
            self._waiting = asyncio.get_running_loop().create_future()
            if not await self._waiting:
                return []
        taken = []
        while self._frames:
            frame, references, gone = self._frames.popleft()
            taken.append((frame, references))
            if not gone.done():
                gone.set_result(None)
        return taken


class Pulls:
    """The frames of one process for drivers, by the driver's slot."""

    def __init__(self) -> None:
        self._carriers: Final[dict[int, PullCarrier]] = {}

    @property
    def slots(self) -> tuple[int, ...]:
        """The drivers that may pull."""
        return tuple(self._carriers)

    def carrier(self, slot: int) -> PullCarrier:
        """What lets frames for this driver wait; made when it is asked for first."""
        return self._carriers.setdefault(slot, PullCarrier())

    async def take(self, slot: int) -> list[tuple[bytes, Sequence[Any]]]:
        """What waits for a driver, as soon as there is something; none for an unknown one."""
        carrier = self._carriers.get(slot)
        return [] if carrier is None else await carrier.take()

    def end(self, slot: int) -> None:
        """A driver has left: who waits for it to pull is let go."""
        carrier = self._carriers.pop(slot, None)
        if carrier is not None:
            carrier.close()
