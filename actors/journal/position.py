"""How far something has come in a log: a log's end, or what a reader has done with it.

One value, the waits for it to grow, and listeners that hear of each new one. The end of a log
that is written elsewhere is a `FollowedPosition`: it is looked at while anybody listens.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, DeadlineExceeded

__all__ = ["FollowedPosition", "Listener", "Position"]

LOGGER: Final = logging.getLogger("callboard.journal")
Listener = Callable[[int], None]


class Position:
    """A position of a log. Belongs to one event loop."""

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._waits: dict[asyncio.Future[None], int] = {}
        self._listeners: dict[int, Listener] = {}
        self._number = 0
        self._ended: CallboardError | None = None

    def move(self, value: int) -> None:
        """It has come to `value`: waits that this ends go on, and listeners are called with it."""
        self.value = value
        if self._waits:
            self._release(value)
        for listener in tuple(self._listeners.values()):
            listener(value)

    def wake(self) -> None:
        """End every `wait`, wherever the position stands."""
        self._release(None)

    def end(self, error: CallboardError) -> None:
        """It comes no further: each wait for that raises the error, now and from now on."""
        self._ended = error
        self.wake()

    def _release(self, value: int | None) -> None:
        for waiter, wanted in tuple(self._waits.items()):
            if (value is None or wanted <= value) and not waiter.done():
                waiter.set_result(None)

    async def wait(self, wanted: int, timeout_s: float | None) -> bool:
        """Wait for a position, for `timeout_s` at most, or until `wake`; whether it is there.

        Raises what the position was ended with before it came there.
        """
        if self.value < wanted and self._ended is None and (timeout_s is None or timeout_s > 0):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waits[waiter] = wanted
            try:
                await asyncio.wait((waiter,), timeout=timeout_s)
            finally:
                del self._waits[waiter]
        if self.value >= wanted:
            return True
        if self._ended is not None:
            raise self._ended
        return False

    async def wait_for(self, wanted: int, timeout_s: float, name: str) -> None:
        """Wait for a position. Raises `DeadlineExceeded` with the name, and what `wait` raises."""
        until_s = (now := asyncio.get_running_loop().time)() + timeout_s
        while not await self.wait(wanted, until_s - now()):
            if now() >= until_s:
                raise DeadlineExceeded(
                    f"{name} stands at {self.value}, not at {wanted}, after {timeout_s} s."
                )

    def on_move(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the loop with each new value; gives what ends that."""
        self._number = number = self._number + 1
        self._listeners[number] = listener

        def end() -> None:
            self._listeners.pop(number, None)

        return end


class FollowedPosition(Position):
    """The end of a log that is written elsewhere. `look` gives it, and may wait for news first.

    It is looked at every `every_s`, while anybody listens. What is `passing` of the errors that
    `look` raises ends nothing: it is counted, and the next look comes after a back-off.
    """

    def __init__(
        self,
        look: Callable[[int], Awaitable[int]],
        *,
        name: str,
        every_s: float,
        backoff: Backoff,
        passing: type[Exception] = Exception,
    ) -> None:
        super().__init__()
        self.failures = 0
        """Looks that have failed."""
        self._look = look
        self._name = name
        self._every_s = every_s
        self._backoff = backoff
        self._passing = passing
        self._following: asyncio.Task[None] | None = None

    def on_move(self, listener: Listener) -> Callable[[], None]:
        """See `Position.on_move`."""
        end_listening = super().on_move(listener)
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow())

        def end() -> None:
            end_listening()
            if not self._listeners and self._following is not None:
                self._following.cancel()
                self._following = None  # Whoever listens next must not count on one that ends.

        return end

    async def _follow(self) -> None:
        in_a_row = 0
        while self._listeners:
            await asyncio.sleep(self._backoff.delay_s(in_a_row) if in_a_row else self._every_s)
            try:
                value = await self._look(self.value)
            except self._passing as error:
                self.failures += 1
                in_a_row += 1
                if in_a_row == 1:
                    LOGGER.warning("The end of %s is not known for now: %s", self._name, error)
                continue
            except CallboardError as error:
                LOGGER.warning("%s is not followed any more: %s", self._name, error)
                return
            in_a_row = 0
            if value > self.value:
                self.move(value)

    async def close(self) -> None:
        """Listen no more, at once."""
        self._listeners.clear()
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
