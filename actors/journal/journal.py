"""The journal: the one writer of a log, on an event loop, and its readers.

The store blocks, so its calls run in threads: the commits in one of their own, reads in a few
others. Everything else happens on the loop. An append's outcome comes after its commit is
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

from ..kernel.threads import ThreadRunner
from .core import GroupCommit, JournalLimits, Outcome, Submitted, Writing
from .position import Position
from .stored import StoredLog

__all__ = ["Journal", "JournalStatistics"]

Done = Callable[[Appended | CallboardError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatistics:
    """What one writer has done since it was made, and what waits for it; for looks and metrics."""

    head: int
    """The position of the last committed event."""
    waiting_events: int
    waiting_bytes: int
    """What waits for a commit; the group under way is not in it."""
    appends: int
    """Appends that were committed; repeats among them."""
    events: int
    """The events of those appends."""
    bytes: int
    """Data and metadata of those events."""
    groups: int
    """Commits: each is one group of appends. `events / groups` is the mean size of one."""
    group_events_last: int
    """Events of the latest group, those of refused appends included."""
    group_events_max: int
    """Events of the largest group so far."""
    commit_s: float
    """Seconds that commits have taken, together; the failed ones too."""
    commit_s_last: float
    """Seconds that the latest commit took."""
    refused: int
    """Appends that the log refused: a wrong version, a reused id, too large."""
    failed: int
    """Appends that failed because the store did."""
    retries: int
    """Commits that were tried again."""


@dataclass(slots=True)
class _Done:
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
    """One log, written by nobody else while this writer has its epoch.

    `on_broken` is called once when the writer must end: it was fenced, or the store is
    damaged. A supervisor decides what follows.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        owner: str,
        limits: JournalLimits | None = None,
        on_broken: Callable[[CallboardError], None] | None = None,
    ) -> None:
        super().__init__(store, Position(), "journal-read")
        self.owner: Final = owner
        self._done: Final = _Done()
        self.faults: Final[Counter[StoreFault]] = Counter()
        """Commits that the store did not make, each try counted."""
        self._core = GroupCommit(limits or JournalLimits())
        self._loop = asyncio.get_running_loop()
        self._on_broken = on_broken
        self._writer = ThreadRunner("journal")
        self._room: list[asyncio.Future[None]] = []
        self._idle: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def open(self) -> None:
        """Open the store and become its writer; raises what the store raises."""
        await self._writer.call(self.store.open)
        await self._writer.call(self.store.take_over, self.owner)
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

        Waits for room first when too much is waiting. Raises `WrongExpectedVersion`,
        `EventIdReused`, `EventTooLarge`, and a `StoreFailed` when the store has failed for
        longer than the journal's patience. Being cancelled takes nothing back.
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

        Raises `MailboxFull` when too much is waiting (see `has_room`), or why the writer has
        ended; `done` is not called then.
        """
        core = self._core
        core.add(append, done)
        if core.state is Writing.IDLE:
            # In the next step of the loop: what is submitted in this one is the same group.
            core.state = Writing.COMMITTING
            self._loop.call_soon(self._begin)

    @property
    def has_room(self) -> bool:
        """Whether `submit` would take an append."""
        return self._core.has_room

    @property
    def broken(self) -> CallboardError | None:
        """Why this writer has ended; None while it has not."""
        return self._core.broken

    @property
    def waiting_events(self) -> int:
        """How many events wait for a commit."""
        return self._core.waiting_events

    def statistics(self) -> JournalStatistics:
        """What the writer has done so far; taken on the loop."""
        core = self._core
        return JournalStatistics(
            head=self.head,
            waiting_events=core.waiting_events,
            waiting_bytes=core.waiting_bytes,
            **asdict(self._done),
        )

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
        running.add_done_callback(lambda ended: self._ended(ended, group, began_s))
        self._let_in()

    def _ended(self, ended: "asyncio.Future[Any]", group: list[Submitted], began_s: float) -> None:
        if self._core.state is Writing.BROKEN:
            return
        now = self._loop.time()
        self._done.commit_s_last = now - began_s
        self._done.commit_s += now - began_s
        error = None if ended.cancelled() else ended.exception()
        if ended.cancelled():
            error = InternalError("the thread of the journal was ended in a commit.")
        if error is None:
            self._told(group, ended.result())
            return
        if not isinstance(error, CallboardError):
            error = _unforeseen(self.store.name, error)
        self.faults[fault_of(error)] += 1
        self._failed(self._core.failed(error, now))

    def _told(self, group: list[Submitted], results: list[Appended | CallboardError]) -> None:
        core = self._core
        core.committed()
        # The next commit begins before anybody is told of this one: the disk need not wait.
        if core.waiting:
            self._commit()
        head, events, size, refused, refused_events = self.head, 0, 0, 0, 0
        # Once for each append of the log: nothing is looked up that could be at hand.
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
        self._let_in()

    def _count(self, appends: int, events: int, size: int, refused: int, of_group: int) -> None:
        done = self._done
        done.groups += 1
        done.appends += appends
        done.events += events
        done.bytes += size
        done.refused += refused
        done.group_events_last = of_group
        done.group_events_max = max(done.group_events_max, of_group)

    def _failed(self, outcome: Outcome) -> None:
        if outcome.retry_s is not None:
            self._done.retries += 1
            self._timer = self._loop.call_later(outcome.retry_s, self._commit)
            return
        assert outcome.error is not None
        self._done.failed += len(outcome.failed)
        for _, done, _ in outcome.failed:
            done(outcome.error)
        if self._core.broken is not None and self._on_broken is not None:
            on_broken, self._on_broken = self._on_broken, None
            on_broken(self._core.broken)
        self._commit()
        self._let_in()

    def _let_in(self) -> None:
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
        """Wait until all that was submitted has its outcome. Raises `DeadlineExceeded`."""
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
        """Write what was submitted, then let go of the store; may be called twice.

        What cannot be written within `timeout_s` fails.
        """
        self._core.close()
        try:
            await self.flush(timeout_s)
        except DeadlineExceeded as error:
            self._failed(self._core.give_up(error))
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


def _unforeseen(name: str, error: BaseException) -> CallboardError:
    failed = InternalError(f"the store {name} failed in a commit: {error!r}.")
    failed.__cause__ = error
    return failed
