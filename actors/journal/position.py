"""A position in a log: the log's head, or the progress of a reader.

A position is a value that grows; callers wait for it, or listen to each new value. The head of a
log with its writer in another process is a `FollowedPosition`: it is polled while it has
listeners.
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
    """A position in a log. Belongs to one event loop."""

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._waits: dict[asyncio.Future[None], int] = {}
        self._listeners: dict[int, Listener] = {}
        self._number = 0
        self._ended: CallboardError | None = None

    def move(self, value: int) -> None:
        """Set the position: end the waits for it, and call the listeners with it."""
        self.value = value
        if self._waits:
            self._release(value)
        for listener in tuple(self._listeners.values()):
            listener(value)

    def wake(self) -> None:
        """End every `wait`, wherever the position stands."""
        self._release(None)

    def end(self, error: CallboardError) -> None:
        """The position will not grow any more: waits for more raise the error from now on."""
        self._ended = error
        self.wake()

    def _release(self, value: int | None) -> None:
        for waiter, wanted in tuple(self._waits.items()):
            if (value is None or wanted <= value) and not waiter.done():
                waiter.set_result(None)

    async def wait(self, wanted: int, timeout_s: float | None) -> bool:
        """Wait for a position, at most `timeout_s` seconds, or until `wake`.

        Gives whether the position is reached. Raises the error of `end` when it will never be.
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
        """Wait for a position; `name` is for the message of the error.

        Raises `DeadlineExceeded` after `timeout_s` seconds, and the error of `end`.
        """
        until_s = (now := asyncio.get_running_loop().time)() + timeout_s
        while not await self.wait(wanted, until_s - now()):
            if now() >= until_s:
                raise DeadlineExceeded(
                    f"{name} is at position {self.value} after {timeout_s} s, not at {wanted}."
                )

    def on_move(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` on the loop with each new value; call the result to end that."""
        self._number = number = self._number + 1
        self._listeners[number] = listener

        def end() -> None:
            self._listeners.pop(number, None)

        return end


class FollowedPosition(Position):
    """The head of a log with its writer in another process.

    While there are listeners, `poll` is called every `every_s` seconds with the last known head.
    It gives the head, and may wait for a new one first. An error of the type `transient` is
    counted, and the next poll comes after a back-off; another `CallboardError` ends the polls.
    """

    def __init__(
        self,
        poll: Callable[[int], Awaitable[int]],
        *,
        name: str,
        every_s: float,
        backoff: Backoff,
        transient: type[Exception] = Exception,
    ) -> None:
        super().__init__()
        self.failures = 0
        """Polls that have failed."""
        self._poll = poll
        self._name = name
        self._every_s = every_s
        self._backoff = backoff
        self._transient = transient
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
                self._following = None  # The next listener needs a new task: this one ends.

        return end

    async def _follow(self) -> None:
        in_a_row = 0
        while self._listeners:
            await asyncio.sleep(self._backoff.delay_s(in_a_row) if in_a_row else self._every_s)
            try:
                value = await self._poll(self.value)
            except self._transient as error:
                self.failures += 1
                in_a_row += 1
                if in_a_row == 1:
                    LOGGER.warning("The head of %s cannot be read, retrying: %s", self._name, error)
                continue
            except Exception as error:  # noqa: BLE001 - a poll may raise anything, and is over then
                LOGGER.warning("The head of %s cannot be read, giving up: %r", self._name, error)
                return
            in_a_row = 0
            if value > self.value:
                self.move(value)

    async def close(self) -> None:
        """Remove all listeners and end the polls, at once."""
        self._listeners.clear()
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
