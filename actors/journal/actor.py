"""A log as an actor: the one writer, supervised, found by its name.

A supervisor starts and restarts it like any actor. When the writer is fenced or its store is
damaged, the actor fails, and its supervisor decides. A read is limited in events and in bytes,
so that every reply fits a message; a reader asks again for the rest.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.core.errors import ActorStopped, CallboardError
from callboard.messages.storage.events import EventStore, RecordedEvent

from ..kernel.actor import Actor, handler
from ..kernel.context import Context
from .core import JournalLimits
from .journal import Journal
from .messages import (
    AppendEvents,
    AwaitHead,
    EventsAppended,
    EventsRead,
    LogHead,
    ReadEvents,
    ReadStream,
    VersionOf,
)

__all__ = ["LogActor"]

PAGE_EVENTS: Final = 4_096
PAGE_BYTES: Final = 8 * 2**20
WAIT_MAX_S: Final = 30.0
AT_ONCE: Final = 4_096


class LogActor(Actor):
    """Writes and reads one log.

    The actor calls `make_store` on its host: the store must be reachable from there.
    """

    concurrency: ClassVar[int] = AT_ONCE
    mailbox_messages: ClassVar[int] = 2 * AT_ONCE

    def __init__(
        self, make_store: Callable[[], EventStore], limits: JournalLimits | None = None
    ) -> None:
        self._make_store = make_store
        self._limits = limits
        self._journal: Journal | None = None
        self._stop: Callable[[Exit], None] | None = None

    async def started(self, ctx: Context) -> None:
        """Open the store and take the log over."""
        owner = f"{ctx.host_name}{ctx.path}"
        journal = Journal(
            self._make_store(),
            owner=owner,
            fence=ctx.fence,
            limits=self._limits,
            on_broken=self._fail,
        )
        try:
            await journal.open()
        except BaseException:
            await journal.close()
            raise
        self._stop = ctx.stop
        ctx.measure(journal.reading)
        self._journal = journal

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        """Write all appends that have arrived, and close the store."""
        if self._journal is not None:
            await self._journal.close()

    def _fail(self, error: CallboardError) -> None:
        # This writer can write no more: its supervisor decides what follows.
        if self._stop is not None:
            self._stop(Exit.of_error(ExitReason.FAILED, error))

    def _open(self) -> Journal:
        if self._journal is None:
            raise ActorStopped("the log actor has not opened its log.", may_have_run=False)
        return self._journal

    @handler
    async def append(self, request: AppendEvents) -> EventsAppended:
        """Append events. Raises what `Journal.append` raises."""
        appended = await self._open().append(
            request.stream, request.new_events(), request.expected, follows=request.follows
        )
        return EventsAppended(**appended._asdict())

    @handler
    async def read(self, request: ReadEvents) -> EventsRead:
        """A page of the events of all streams."""
        limit = min(request.limit, PAGE_EVENTS)
        return _page(await self._open().read(request.after, limit, kinds=request.kinds))

    @handler
    async def read_stream(self, request: ReadStream) -> EventsRead:
        """A page of the events of one stream."""
        found = await self._open().read_stream(
            request.stream,
            after=request.after,
            limit=min(request.limit, PAGE_EVENTS),
            backwards=request.backwards,
        )
        return _page(found)

    @handler
    async def head(self, request: AwaitHead) -> LogHead:
        """The log's head, once it is above `after` or the wait is over."""
        journal = self._open()
        await journal.position.wait(request.after + 1, min(request.wait_s, WAIT_MAX_S))
        return LogHead(head=journal.head)

    @handler
    async def version_of(self, request: VersionOf) -> LogHead:
        """A stream's version."""
        journal = self._open()
        return LogHead(head=await journal.call(journal.store.version_of, request.stream))


def _page(found: Sequence[RecordedEvent]) -> EventsRead:
    kept, size = 0, 0
    for event in found:
        size += len(event.data) + len(event.metadata)
        if kept and size > PAGE_BYTES:
            break
        kept += 1
    return EventsRead(events=tuple(found[:kept]))
