"""Frames for processes that cannot be called: the frames wait for a pull.

A driver is not a Ray actor. It keeps one pull outstanding at each host and at the root, and the
answer carries its frames.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from callboard.messages.core.errors import HostLost

__all__ = ["PullCarrier", "Pulls"]


class PullCarrier:
    """A carrier whose frames wait for the next pull of a driver."""

    is_stream: Final = False

    def __init__(self) -> None:
        self._frames: deque[tuple[bytes, Sequence[Any], asyncio.Future[None]]] = deque()
        self._waiting: asyncio.Future[bool] | None = None
        """The wait of the newest pull: True to take the frames, False to return none."""
        self._closed = False

    def write(self, frame: bytes) -> bool:
        """Always False: perhaps no pull is outstanding."""
        return False

    def close(self) -> None:
        """End all waits: the driver pulls no more."""
        self._closed = True
        self._wake()
        while self._frames:
            _, _, gone = self._frames.popleft()
            if not gone.done():
                gone.set_result(None)

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Return when a pull has taken the frame; the link repeats a lost frame."""
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
        """Wait for a frame and return all that are ready.

        Returns none when the carrier is closed, or when a newer pull has replaced this one, whose
        caller is gone then.
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
    """The frames of one process for drivers, by the slot of the driver."""

    def __init__(self) -> None:
        self._carriers: Final[dict[int, PullCarrier]] = {}

    @property
    def slots(self) -> tuple[int, ...]:
        """The drivers that may pull."""
        return tuple(self._carriers)

    def carrier(self, slot: int) -> PullCarrier:
        """The carrier for this driver; the first call makes it."""
        return self._carriers.setdefault(slot, PullCarrier())

    async def take(self, slot: int) -> list[tuple[bytes, Sequence[Any]]]:
        """Wait for frames for a driver and return them; none for an unknown driver."""
        carrier = self._carriers.get(slot)
        return [] if carrier is None else await carrier.take()

    def end(self, slot: int) -> None:
        """Remove a driver that has left, and end the waits for its pulls."""
        carrier = self._carriers.pop(slot, None)
        if carrier is not None:
            carrier.close()
