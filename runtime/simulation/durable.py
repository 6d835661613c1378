"""The scenario of durable executions: whatever dies, what was acknowledged stays done.

An execution with needs, bindings, growth, retries and an optional sub-task runs on hosts that
crash, with a journal on a disk that fails, takes long and forgets what is not synced. Its driver
is killed at any step, again and again, with everything else; it is superseded by another owner,
and its journal is fenced by another writer. The book reads each event once it is synced, with
nothing of the kernel but the packing of events, and counts anew.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from typing import Any, Final

from callboard.actors.actor import Agent, handler
from callboard.actors.execution.handle import ExecutionHandle
from callboard.actors.execution.history.events import Kind, stream_of, unpack
from callboard.messages.contract import Contract, Request
from callboard.messages.errors import CallboardError, StoreFailed, UsageError
from callboard.messages.event_ids import MARK, mark_of
from callboard.messages.events import RecordedEvent
from callboard.messages.execution import ExecutionStatus
from callboard.messages.job import Job
from callboard.messages.plan import SubTask
from callboard.messages.retry import RetryPolicy
from callboard.messages.storage_errors import WrongExpectedVersion

from ..executions import Executions
from ..inside import host_of
from ..journals import OpenJournal
from .disk import CALM, DiskWeather, SimulatedDisk
from .ledger import ledger_here
from .lives import draw_kill, live, open_disk_journal
from .run import Run
from .stage import BUSY_S, Stage, act, open_stage

__all__ = [
    "ENDED",
    "Book",
    "LaborAgent",
    "durable",
    "finish",
    "new_book",
    "prepare",
    "pursue",
    "take_over",
]

EXECUTION: Final = "durable-1"
KILLS_MAX: Final = 3
AGAIN_S: Final = 0.1
OPTIONAL: Final = 9_999
"""The number of the sub-task that never succeeds."""
BOOKED: Final = 1 << 24
"""Identities from here on are those of a book."""
ENDED: Final = ("completed", "failed", "cancelled")


class Labored(Contract, name="sim.labored"):
    """What a piece of labor gave."""

    number: int
    total: int


class Labor(Request[Labored], name="sim.labor"):
    """A piece of labor; `parts` are bound."""

    number: int
    parts: tuple[Labored | None, ...] = ()


class LaborAgent(Agent):
    """Does it; sometimes it fails, sometimes it takes long."""

    @handler
    async def labor(self, request: Labor) -> Labored:
        """Count what is run."""
        ledger = ledger_here()
        ledger.book.runs(request.number)
        chance = ledger.random()
        if request.number == OPTIONAL or chance < 0.08:
            raise OSError("a passing trouble")
        if chance < 0.6:
            await asyncio.sleep(0.3 * chance)
        total = request.number + sum(part.total for part in request.parts if part is not None)
        return Labored(number=request.number, total=total)


class Book:
    """What the disk has acknowledged, and what that forbids."""

    def __init__(self, run: Run, tasks: int) -> None:
        self.run: Final = run
        self.disk: SimulatedDisk
        self.tasks: Final = tasks
        self.nonces: Final[list[str]] = []
        self.events: Final[list[RecordedEvent]] = []
        self.ids: Final[list[str]] = []
        self.done: Final[set[str]] = set()
        """Sub-tasks whose result is synced."""
        self.done_before: frozenset[str] = frozenset()
        """Those that were when this life began."""
        self.status = ""
        self.opened: Final[list[OpenJournal]] = []
        """Journals of this life besides the system's own."""
        self._planned: int | None = None
        self._head = 0
        self._versions: dict[str, int] = {}
        self._identities = itertools.count(1)

    def new_id(self) -> str:
        """A name that no life of the run gives again."""
        self.nonces.append(f"{BOOKED + next(self._identities):08x}")
        return self.nonces[-1]

    def begin_life(self) -> None:
        """What is done now stays done in the next life."""
        self.done_before = frozenset(self.done)
        self.opened.clear()

    # --- what is seen ----------------------------------------------------------------------

    def synced(self, event: RecordedEvent) -> None:
        """An event stays."""
        self._versions[event.stream] = version = self._versions.get(event.stream, 0) + 1
        self._head += 1
        if event.position != self._head or event.version != version:
            self.run.complain(
                "positions_gapless",
                f"event {self._head} has position {event.position}; version {version} of "
                f"{event.stream!r} has {event.version}",
            )
        if event.stream != stream_of(EXECUTION):
            return
        self.events.append(event)
        fields = unpack(event.kind, event.data)
        if event.kind == Kind.GROWN:
            self.ids.extend(row[0] for row in fields["rows"])
        elif event.kind == Kind.PLANNED:
            self._planned = fields["sub_tasks"]
        elif event.kind == Kind.RESUMED and len(self.ids) < (self._planned or 1):
            self.ids.clear()
        elif event.kind == Kind.STEPPED:
            self._stepped(fields["to"])
        elif event.kind == Kind.MOVED:
            for row in fields["done"]:
                self._is_done(self.ids[row[0]])

    def _is_done(self, task_id: str) -> None:
        if task_id in self.done:
            self.run.complain("committed_once", f"the result of {task_id!r} is committed again")
        self.done.add(task_id)

    def _stepped(self, to: str) -> None:
        if self.status in ENDED:
            self.run.complain("committed_once", f"{to} after {self.status}")
        self.status = to

    def runs(self, number: int) -> None:
        """A handler begins."""
        if f"t{number}" in self.done_before:
            self.run.complain("done_stays_done", f"sub-task t{number} runs after a resume")

    def leaves(self, task_id: str) -> None:
        """A result is collected."""
        if task_id not in self.done:
            self.run.complain("durable_before_it_leaves", f"{task_id!r} is collected, not synced")

    def check(self) -> None:
        """At the end: each owner wrote in a row, and none after the next."""
        owners = {mark_of(nonce): nonce for nonce in self.nonces}
        wrote = [owners.get(event.id[MARK], "?") for event in self.events]
        turns = [owner for owner, _ in itertools.groupby(wrote)]
        if len(turns) != len(set(turns)) or "?" in turns:
            self.run.complain("superseded_is_silent", f"the events are of {turns}")
        if self.status not in ENDED:
            self.run.complain("execution_is_right", f"the journal ends with {self.status!r}")
        self.run.check_now()


# --- the job ----------------------------------------------------------------------------------


def _expand(sub_task: SubTask, _result: Any) -> Iterable[SubTask]:
    number = sub_task.request.number
    if number < 50 and number % 4 == 1:
        first = 100 + 10 * number
        return tuple(SubTask(f"t{n}", Labor(number=n)) for n in (first, first + 1))
    if number >= 100 and number % 10 == 0 and number < 1_000:
        return (SubTask(f"t{number + 1_000}", Labor(number=number + 1_000)),)
    return ()


def _planned(tasks: int) -> tuple[SubTask, ...]:
    plain = tuple(
        SubTask(f"t{n}", Labor(number=n), needs=(f"t{n - 3}",) if n >= 3 else ())
        for n in range(tasks)
    )
    optional = SubTask(
        f"t{OPTIONAL}", Labor(number=OPTIONAL), optional=True,
        retry=RetryPolicy(attempts_max=2, backoff_min_s=0.02),
    )  # fmt: skip
    parts = ("t0", "t1", optional.id)
    last = SubTask("t60", Labor(number=60), needs=parts, bind={"parts": parts})
    return (*plain, optional, last)


def _undisturbed(tasks: int) -> list[tuple[int, int]]:
    right: list[int] = []
    for n in range(tasks):
        right.append(n)
        if n % 4 == 1:
            first = 100 + 10 * n
            right += [first, first + 1_000, first + 1]
    return [*((n, n) for n in right), (60, 61)]


def _job(book: Book) -> Job[Any, Any]:
    def collect(sub_task: SubTask, value: Any) -> Any:
        book.leaves(sub_task.id)
        return value

    def deliver(result: Any) -> None:
        missing = {f"t{part.number}" for part in result} - book.done
        if missing:
            book.run.complain("durable_before_it_leaves", f"{missing} delivered, not synced")

    return Job(
        name="labor",
        decompose=lambda request: _planned(request.number),
        expand=_expand,
        collect=collect,
        deliver=deliver,
        threads=frozenset(),
        partial_every=0,
        task_timeout_s=0.5 + 2.0 * book.run.draw(),
        task_retry=RetryPolicy(
            attempts_max=8, backoff_min_s=0.02, backoff_max_s=0.3, host_losses_max=20
        ),
    )


# --- what is done -----------------------------------------------------------------------------


async def pursue(stage: Stage, book: Book, *, supersedes: bool = False) -> None:
    """See the execution to its end, or be superseded."""
    job = _job(book)
    if supersedes:
        await stage.later(BUSY_S)
    while True:
        handle = await _taken_up(stage, book, job)
        if handle is None:
            await asyncio.sleep(AGAIN_S)
            continue
        try:
            result = await handle.result(timeout_s=60.0)
        except CallboardError as error:
            book.run.world.trace.add(error.code)
            if book.status in ENDED or isinstance(error, WrongExpectedVersion):
                return
            if not isinstance(error, StoreFailed):
                book.run.complain("execution_is_right", f"it ends unwritten: {error!r}")
            await asyncio.sleep(AGAIN_S)
            continue
        found = [(part.number, part.total) for part in result]
        if found != _undisturbed(book.tasks):
            book.run.complain("execution_is_right", f"the result is {found}")
        if book.status != ExecutionStatus.COMPLETED:
            book.run.complain("durable_before_it_leaves", f"a result, while {book.status!r}")
        return


async def _taken_up(stage: Stage, book: Book, job: Job[Any, Any]) -> ExecutionHandle[Any] | None:
    try:
        return await stage.system.resume(job, EXECUTION)
    except UsageError:
        return stage.system.submit(job, Labor(number=book.tasks), execution_id=EXECUTION)
    except StoreFailed:
        return None


async def take_over(stage: Stage, book: Book) -> None:
    """Another writer takes the log over, and its executions with it."""
    await stage.later(BUSY_S)
    system = stage.system
    opened = await open_disk_journal(system.settings, book.disk, "another writer")
    system._executions = Executions(host_of(system), system._environment, opened)  # noqa: SLF001 - as a second driver would have
    book.opened.append(opened)
    await pursue(stage, book)


def _draw_disk(draw: Any) -> DiskWeather:
    if draw() < 0.3:
        return CALM
    return DiskWeather(
        write_max_s=0.02 * draw() ** 2,
        sync_max_s=0.2 * draw() ** 2,
        unavailable=0.3 * draw() ** 2,
        full=0.2 * draw() ** 2,
        unknown=0.4 * draw() ** 2,
    )


def new_book(run: Run, tasks: int) -> Book:
    """A book and its disk."""
    book = Book(run, tasks)
    book.disk = SimulatedDisk(run.draw, run.environment.wall_time, book.synced)
    book.disk.weather = _draw_disk(run.draw)
    return book


async def prepare(stage: Stage, book: Book, *, is_last: bool) -> None:
    """A pool that serves the execution; the disk of a last life becomes well."""
    with contextlib.suppress(CallboardError):
        await stage.system.pool(LaborAgent, size=6)
    if is_last:
        world = stage.run.world
        world.at(world.now_s + BUSY_S, setattr, book.disk, "weather", CALM)


async def _life(run: Run, book: Book, *, is_last: bool) -> None:
    async with open_stage(run) as stage:
        await prepare(stage, book, is_last=is_last)
        others = []
        if run.draw() < 0.3:
            others.append(pursue(stage, book, supersedes=True))
        if run.draw() < 0.3:
            others.append(take_over(stage, book))
        await act(stage, pursue(stage, book), *others, count=2)
        await finish(stage, book)


async def finish(stage: Stage, book: Book) -> None:
    """Nobody may be left who pursues it: one more does, on a disk that is well."""
    book.disk.weather = CALM
    opened = await open_disk_journal(stage.system.settings, book.disk, "the last writer")
    system = stage.system
    system._executions = Executions(host_of(system), system._environment, opened)  # noqa: SLF001 - as above
    await pursue(stage, book)
    # Not before: whoever has superseded the one that opened a journal goes on with it.
    for journal in (*book.opened, opened):
        await journal.close()
    book.check()


async def durable(run: Run) -> None:
    """An execution whose driver is killed again and again, with everything else."""
    book = new_book(run, 8 + int(run.draw() * 8))
    for _ in range(int(run.draw() * (KILLS_MAX + 1))):
        kill = draw_kill(run.draw)
        if await live(run, book.disk, book, lambda: _life(run, book, is_last=False), kill):
            return
    await live(run, book.disk, book, lambda: _life(run, book, is_last=True), None)
