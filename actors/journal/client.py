"""A log that is an actor, from any host: the same calls as the journal itself."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from callboard.messages.errors import AskError, CallboardError
from callboard.messages.events import ANY, Appended, NewEvent, RecordedEvent
from callboard.messages.log import AppendEvents, AwaitHead, ReadEvents, ReadStream, VersionOf
from callboard.messages.ref import Ref

__all__ = ["LogClient"]

LOGGER: Final = logging.getLogger("callboard.journal")
WAIT_S: Final = 1.0
"""How long a question for news waits in the log: an ordered stop of the log waits for it."""
RETRY_S: Final = 0.2


class LogClient:
    """Appends to and reads from a `LogActor`; belongs to one event loop.

    While the actor is restarted its callers wait. An append that failed with an error whose
    `may_have_run` is not False may have happened: append the same events again, their ids make
    that safe.
    """

    def __init__(self, ref: Ref[Any], *, timeout_s: float = 30.0) -> None:
        self.ref: Final = ref
        self.head = 0
        """The highest position that has been seen here."""
        self._timeout_s = timeout_s
        self._listeners: dict[int, Callable[[int], None]] = {}
        self._number = 0
        self._following: asyncio.Task[None] | None = None

    async def append(
        self,
        stream: str,
        events: Sequence[NewEvent],
        expected: int = ANY,
        *,
        follows: bytes = b"",
    ) -> Appended:
        """See `Journal.append`."""
        rows = tuple(tuple(event) for event in events)
        request = AppendEvents(stream=stream, events=rows, expected=expected, follows=follows)  # type: ignore[arg-type] # the fields of NewEvent
        reply = await self.ref.ask(request, timeout_s=self._timeout_s)
        return reply.appended()

    async def read(
        self, after: int, limit: int, *, kinds: Sequence[str] | None = None
    ) -> list[RecordedEvent]:
        """See `EventStore.read`; the actor bounds a page, so it may give fewer than there are."""
        request = ReadEvents(
            after=after, limit=limit, kinds=None if kinds is None else tuple(kinds)
        )
        return (await self.ref.ask(request, timeout_s=self._timeout_s)).recorded()

    async def read_stream(
        self, stream: str, *, after: int = 0, limit: int = 1_000, backwards: bool = False
    ) -> list[RecordedEvent]:
        """See `EventStore.read_stream`; a page may be shorter than asked for."""
        request = ReadStream(stream=stream, after=after, limit=limit, backwards=backwards)
        return (await self.ref.ask(request, timeout_s=self._timeout_s)).recorded()

    async def version_of(self, stream: str) -> int:
        """See `EventStore.version_of`."""
        return (await self.ref.ask(VersionOf(stream=stream), timeout_s=self._timeout_s)).head

    async def open(self) -> None:
        """Look at the head for the first time."""
        self.head = (await self.ref.ask(AwaitHead(), timeout_s=self._timeout_s)).head

    def on_commit(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener` on the loop with each new head that is seen; gives what ends that."""
        self._number = number = self._number + 1
        self._listeners[number] = listener
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow())

        def end() -> None:
            self._listeners.pop(number, None)
            if not self._listeners and self._following is not None:
                self._following.cancel()
                self._following = None  # Whoever listens next must not count on one that ends.

        return end

    async def _follow(self) -> None:
        while self._listeners:
            try:
                request = AwaitHead(after=self.head, wait_s=WAIT_S)
                head = (await self.ref.ask(request, timeout_s=WAIT_S + self._timeout_s)).head
            except AskError:
                # The log is being restarted, or gone for now: who reads will hear the reason.
                await asyncio.sleep(RETRY_S)
                continue
            except CallboardError as error:
                LOGGER.warning("the log at %s is not followed any more: %s", self.ref, error)
                return
            if head > self.head:
                self.head = head
                for listener in tuple(self._listeners.values()):
                    listener(head)

    async def close(self) -> None:
        """Listen no more; the log goes on."""
        self._listeners.clear()
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
