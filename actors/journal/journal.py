"""The journal: the one writer of a log, on an event loop, and its readers.

The calls of the store block, so they run in threads: commits in one thread, reads in a few
others. Everything else runs on the loop. An append gets its outcome after its commit is
durable, never before.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from callboard.messages.core.errors import CallboardError, DeadlineExceeded, InternalError
from callboard.messages.storage.errors import StoreFault, fault_of
from callboard.messages.storage.events import ANY, Append, Appended, EventStore, NewEvent

from ..kernel.inspection.metric_sources import Name, Reading
from ..kernel.threads import ThreadRunner
from .core import GroupCommit, JournalLimits, Outcome, Submitted, Writing
from .position import Position
from .stored import StoredLog

__all__ = ["Journal", "JournalStatistics"]

Done = Callable[[Appended | CallboardError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatistics:
    """The figures of one writer since it was made, for people and for metrics."""

    head: int
    """The position of the last committed event."""
    waiting_events: int
    """Events that wait for a commit, without the group under way."""
    waiting_bytes: int
    """Bytes of these events."""
    appends: int
    """Appends that were committed, repetitions included."""
    events: int
    """The events of those appends."""
    bytes: int
    """Data and metadata of those events."""
    groups: int
    """Commits, one for each group of appends. `events / groups` is their mean size."""
    group_events_last: int
    """Events of the latest group, those of refused appends included."""
    group_events_max: int
    """Events of the largest group so far."""
    commit_s: float
    """The time of all commits in seconds, failed ones included."""
    commit_s_last: float
    """The time of the latest commit in seconds."""
    refused: int
    """Appends that the log refused: a wrong version, a reused id, or an event too large."""
    failed: int
    """Appends that failed with the store."""
    retries: int
    """Retries of commits."""


@dataclass(slots=True)
class _Counts:
    """The counters behind `JournalStatistics`, under the same names."""

    appends: int = 0
    events: int = 0
    bytes: int = 0
    groups: int = 0
    group_events_last: int = 0
    group_events_max: int = 0
    commit_s: float = 0.0
    commit_s_last: float = 0.0
    refused: int = 0
    failed: int = 0
    retries: int = 0


class Journal(StoredLog):
    """The one writer of a log, until another writer takes it over.

    `owner` names this writer, for people. `fence` is the fencing token of the actor that writes, or
    0: a writer that has been replaced cannot take the log back. `on_broken` is called once when the
    writer must end, because it was fenced or the store is damaged. A supervisor decides what
    follows.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        owner: str,
        fence: int = 0,
        limits: JournalLimits | None = None,
        on_broken: Callable[[CallboardError], None] | None = None,
    ) -> None:
        super().__init__(store, Position(), "journal-read")
        self.owner: Final = owner
        self._fence = fence
        self._counts: Final = _Counts()
        self.faults: Final[Counter[StoreFault]] = Counter()
        """Failed commits by kind of fault, retries included."""
        self._core = GroupCommit(limits or JournalLimits())
        self._loop = asyncio.get_running_loop()
        self._on_broken = on_broken
        self._writer = ThreadRunner("journal")
        self._room: list[asyncio.Future[None]] = []
        self._idle: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Open the store and take the log over. Raises what the store raises, as `WriterFenced`."""
        await self._writer.call(self.store.open)
        await self._writer.call(self.store.take_over, self.owner, self._fence)
        self.position.move(await self._writer.call(self.store.head))

    # --- appending -------------------------------------------------------------------------

    async def append(
        self,
        stream: str,
        events: Sequence[NewEvent],
        expected: int = ANY,
        *,
        follows: bytes = b"",
    ) -> Appended:
        """Append events to a stream, and wait until they are durable; see `Append`.

        Waits for room first when the journal is full. Raises `WrongExpectedVersion`,
        `EventIdReused`, `EventTooLarge`, and a `StoreFailed` when the store fails for longer
        than `JournalLimits.patience_s`. A cancelled call does not take the events back.
        """
        while not self._core.has_room and self._core.broken is None:
            room = self._loop.create_future()
            self._room.append(room)
            await room
        outcome: asyncio.Future[Appended] = self._loop.create_future()

        def done(result: Appended | CallboardError) -> None:
            if outcome.done():
                return
            if isinstance(result, CallboardError):
                outcome.set_exception(result)
            else:
                outcome.set_result(result)

        self.submit(Append(stream, tuple(events), expected, follows), done)
        return await outcome

    def submit(self, append: Append, done: Done) -> None:
        """Append without waiting; `done` is called on the loop, once, with the outcome.

        Raises `MailboxFull` when the journal is full (see `has_room`), or the error that ended
        the writer; `done` is not called then.
        """
        core = self._core
        core.add(append, done)
        if core.state is Writing.IDLE:
            # In the next step of the loop: appends of this step form one group.
            core.state = Writing.COMMITTING
            self._loop.call_soon(self._begin)

    @property
    def has_room(self) -> bool:
        """Whether `submit` has room for an append."""
        return self._core.has_room

    @property
    def broken(self) -> CallboardError | None:
        """The error that ended this writer; None while it works."""
        return self._core.broken

    @property
    def waiting_events(self) -> int:
        """The number of events that wait for a commit."""
        return self._core.waiting_events

    def statistics(self) -> JournalStatistics:
        """The figures of the writer; call it on the loop."""
        core = self._core
        return JournalStatistics(
            head=self.head,
            waiting_events=core.waiting_events,
            waiting_bytes=core.waiting_bytes,
            **asdict(self._counts),
        )

    def reading(self) -> Reading:
        """The same figures as metrics of the host; `names.py` describes each."""
        done = self.statistics()
        counts: dict[Name, float] = {
            Name("callboard_journal_appends"): done.appends,
            Name("callboard_journal_events"): done.events,
            Name("callboard_journal_bytes"): done.bytes,
            Name("callboard_journal_commits"): done.groups,
            Name("callboard_journal_commit_seconds"): done.commit_s,
            Name("callboard_journal_retries"): done.retries,
            Name("callboard_journal_refused"): done.refused,
            Name("callboard_journal_failed"): done.failed,
        }
        for fault in StoreFault:
            # All kinds from the start, so that an alarm can refer to a kind that never occurred.
            counts[Name("callboard_journal_faults", fault)] = self.faults[fault]
        return Reading(counts, {Name("callboard_journal_waiting_events"): self.waiting_events})

    def _begin(self) -> None:
        if self._core.state is Writing.COMMITTING:
            self._core.state = Writing.IDLE
            self._commit()

    def _commit(self) -> None:
        self._timer = None
        group = self._core.take()
        if group is None:
            return
        appends = [append for append, _, _ in group]
        began_s = self._loop.time()
        running = self._writer.call(self.store.commit, appends)
        running.add_done_callback(lambda ended: self._finish_commit(ended, group, began_s))
        self._wake_waiters()

    def _finish_commit(
        self, ended: "asyncio.Future[Any]", group: list[Submitted], began_s: float
    ) -> None:
        if self._core.state is Writing.BROKEN:
            return
        now = self._loop.time()
        self._counts.commit_s_last = now - began_s
        self._counts.commit_s += now - began_s
        error = None if ended.cancelled() else ended.exception()
        if ended.cancelled():
            error = InternalError("the journal's thread ended during a commit.")
        if error is None:
            self._settle(group, ended.result())
            return
        if not isinstance(error, CallboardError):
            error = _internal_error(self.store.name, error)
        self.faults[fault_of(error)] += 1
        self._handle_failure(self._core.note_failure(error, now))

    def _settle(self, group: list[Submitted], results: list[Appended | CallboardError]) -> None:
        core = self._core
        core.note_commit()
        # The next commit begins before the outcomes of this one are delivered: the disk need
        # not wait for that.
        if core.waiting:
            self._commit()
        head, events, size, refused, refused_events = self.head, 0, 0, 0, 0
        # The hot path: it runs once for each append of the log.
        for (append, done, bytes_), result in zip(group, results, strict=True):
            if isinstance(result, Appended):
                last = result[1]
                if last > head:  # noqa: PLR1730 - `max` would be called
                    head = last
                events += len(append[1])
                size += bytes_
            else:
                refused += 1
                refused_events += len(append[1])
            done(result)
        self._count(len(group) - refused, events, size, refused, events + refused_events)
        if head > self.head:
            self.position.move(head)
        self._wake_waiters()

    def _count(self, appends: int, events: int, size: int, refused: int, of_group: int) -> None:
        counts = self._counts
        counts.groups += 1
        counts.appends += appends
        counts.events += events
        counts.bytes += size
        counts.refused += refused
        counts.group_events_last = of_group
        counts.group_events_max = max(counts.group_events_max, of_group)

    def _handle_failure(self, outcome: Outcome) -> None:
        if outcome.retry_s is not None:
            self._counts.retries += 1
            self._timer = self._loop.call_later(outcome.retry_s, self._commit)
            return
        assert outcome.error is not None
        self._counts.failed += len(outcome.failed)
        for _, done, _ in outcome.failed:
            done(outcome.error)
        if self._core.broken is not None and self._on_broken is not None:
            on_broken, self._on_broken = self._on_broken, None
            on_broken(self._core.broken)
        self._commit()
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        if self._room and (self._core.has_room or self._core.broken is not None):
            room, self._room = self._room, []
            for waiter in room:
                if not waiter.done():
                    waiter.set_result(None)
        if self._idle and self._core.is_done:
            idle, self._idle = self._idle, []
            for waiter in idle:
                if not waiter.done():
                    waiter.set_result(None)

    async def flush(self, timeout_s: float) -> None:
        """Wait until all submitted appends have their outcomes.

        Raises `DeadlineExceeded` after `timeout_s` seconds.
        """
        if self._core.is_done:
            return
        waiter = self._loop.create_future()
        self._idle.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            raise DeadlineExceeded(
                f"the journal {self.store.name} has not written {self.waiting_events} events "
                f"within {timeout_s} s."
            ) from None

    # --- the end ---------------------------------------------------------------------------

    async def close(self, timeout_s: float = 30.0) -> None:
        """Write all submitted appends, then close the store; may be called twice.

        Appends that are not written within `timeout_s` seconds fail.
        """
        self._core.close()
        try:
            await self.flush(timeout_s)
        except DeadlineExceeded as error:
            self._handle_failure(self._core.give_up(error))
        if self._timer is not None:
            self._timer.cancel()
        if self._is_closed:
            return
        self._is_closed = True
        await self._writer.finish(self.store.close, timeout_s)
        self._readers.close()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()


def _internal_error(name: str, error: BaseException) -> CallboardError:
    failed = InternalError(f"the store {name} failed in a commit: {error!r}.")
    failed.__cause__ = error
    return failed
