"""The scenario of durable executions: acknowledged sub-tasks stay done, whatever dies.

An execution with needs, bindings, growth, retries and an optional sub-task runs on hosts that
crash. Its journal is on a disk that fails, is slow, and forgets unsynced commits. The seed kills
its driver with everything else at any step, again and again. Another owner supersedes it, and
another writer fences its journal. The checker reads each synced event, uses only the event codec
of the kernel, and keeps its own counts.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from typing import Any, Final

from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.executions.history.events import (
    Grown,
    Moved,
    Planned,
    Resumed,
    Stepped,
    read,
    stream_of,
)
from callboard.actors.executions.history.fold import fold
from callboard.actors.kernel.actor import Agent, handler
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, StoreFailed, UsageError
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.plan import SubTask
from callboard.messages.jobs.retry import RetryPolicy
from callboard.messages.storage.errors import WrongExpectedVersion
from callboard.messages.storage.event_ids import MARK, mark_of
from callboard.messages.storage.events import RecordedEvent
from callboard.runtime.api.inside import host_of
from callboard.runtime.executions.executions import Executions
from callboard.runtime.executions.journals import OpenJournal

from .disk import NO_DISK_FAULTS, DiskFaults, SimulatedDisk
from .driver_restarts import draw_kill, open_disk_journal, run_driver
from .message_log import current_message_log
from .run import Run
from .scenario_fixture import BUSY_S, ScenarioFixture, open_fixture, run_under_faults

__all__ = [
    "ENDED",
    "ExecutionChecker",
    "LaborAgent",
    "durable",
    "finish",
    "new_checker",
    "prepare",
    "run_execution",
    "take_over",
]

EXECUTION: Final = "durable-1"
KILLS_MAX: Final = 3
AGAIN_S: Final = 0.1
OPTIONAL: Final = 9_999
"""The number of the sub-task that never succeeds."""
FIRST_IDENTITY: Final = 1 << 24
"""A checker gives the identities from here on."""
ENDED: Final = ("completed", "failed", "cancelled")


class Labored(Contract, name="sim.labored"):
    """The result of a piece of labor."""

    number: int
    total: int


class Labor(Request[Labored], name="sim.labor"):
    """A piece of labor; `parts` are bound."""

    number: int
    parts: tuple[Labored | None, ...] = ()


class LaborAgent(Agent):
    """Runs pieces of labor; sometimes it fails, sometimes it is slow."""

    @handler
    async def labor(self, request: Labor) -> Labored:
        """Check that the piece may run, and run it."""
        log = current_message_log()
        log.checker.runs(request.number)
        chance = log.random()
        if request.number == OPTIONAL or chance < 0.08:
            raise OSError("a transient failure")
        if chance < 0.6:
            await asyncio.sleep(0.3 * chance)
        total = request.number + sum(part.total for part in request.parts if part is not None)
        return Labored(number=request.number, total=total)


class ExecutionChecker:
    """Records the acknowledged events, and complains when an event or a run contradicts them."""

    def __init__(self, run: Run, tasks: int) -> None:
        self.run: Final = run
        self.disk: SimulatedDisk
        self.tasks: Final = tasks
        self.nonces: Final[list[str]] = []
        self.events: Final[list[RecordedEvent]] = []
        self.ids: Final[list[str]] = []
        self.done: Final[set[str]] = set()
        """Sub-tasks with a synced result."""
        self.done_before: frozenset[str] = frozenset()
        """Sub-tasks with a synced result at the start of this driver."""
        self.status = ""
        self.submissions = 0
        self.opened: Final[list[OpenJournal]] = []
        """Journals of this driver, except the one of the system."""
        self._planned: int | None = None
        self._head = 0
        self._versions: dict[str, int] = {}
        self._identities = itertools.count(1)

    def new_id(self) -> str:
        """An identity that is unique in the run."""
        self.nonces.append(f"{FIRST_IDENTITY + next(self._identities):08x}")
        return self.nonces[-1]

    def driver_started(self) -> None:
        """A new driver begins: sub-tasks that are done now stay done."""
        self.done_before = frozenset(self.done)
        self.opened.clear()

    # --- events ---------------------------------------------------------------------------

    def synced(self, event: RecordedEvent) -> None:
        """An event is synced."""
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
        match read(event.kind, event.data):
            case Grown() as grown:
                self.ids.extend(grown.ids())
            case Planned() as planned:
                self._planned = planned.sub_tasks
            case Resumed() if len(self.ids) < (self._planned or 1):
                self.ids.clear()
            case Stepped() as stepped:
                self._stepped(stepped.to)
            case Moved() as moved:
                for done in moved.done():
                    self._is_done(self.ids[done.task])
            case _:
                pass

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
        """Check at the end that each owner wrote consecutively, and none after the next."""
        owners = {mark_of(nonce): nonce for nonce in self.nonces}
        wrote = [owners.get(event.id[MARK], "?") for event in self.events]
        turns = [owner for owner, _ in itertools.groupby(wrote)]
        if len(turns) != len(set(turns)) or "?" in turns:
            self.run.complain("superseded_is_silent", f"the events are of {turns}")
        if self.status not in ENDED:
            self.run.complain("execution_is_right", f"the journal ends with {self.status!r}")
        try:
            fold(EXECUTION, self.events).validate_state()
        except AssertionError as error:
            self.run.complain("execution_is_right", f"its history contradicts itself: {error}")
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


def _job(checker: ExecutionChecker) -> Job[Any, Any]:
    def collect(sub_task: SubTask, value: Any) -> Any:
        checker.leaves(sub_task.id)
        return value

    def deliver(result: Any) -> None:
        missing = {f"t{part.number}" for part in result} - checker.done
        if missing:
            checker.run.complain("durable_before_it_leaves", f"{missing} delivered, not synced")

    return Job(
        name="labor",
        decompose=lambda request: _planned(request.number),
        expand=_expand,
        collect=collect,
        deliver=deliver,
        threads=frozenset(),
        partial_every=0,
        task_timeout_s=0.5 + 2.0 * checker.run.draw(),
        task_retry=RetryPolicy(
            attempts_max=8, backoff_min_s=0.02, backoff_max_s=0.3, host_losses_max=20
        ),
    )


# --- activities -------------------------------------------------------------------------------


async def run_execution(
    fixture: ScenarioFixture, checker: ExecutionChecker, *, supersedes: bool = False
) -> None:
    """Run the execution to its end, or until another owner supersedes this one."""
    job = _job(checker)
    if supersedes:
        await fixture.later(BUSY_S)
    while True:
        handle = await _resume_or_submit(fixture, checker, job)
        if handle is None:
            await asyncio.sleep(AGAIN_S)
            continue
        try:
            result = await handle.result(timeout_s=60.0)
        except CallboardError as error:
            checker.run.world.trace.add(error.code)
            if checker.status in ENDED or isinstance(error, WrongExpectedVersion):
                return
            if not isinstance(error, StoreFailed):
                checker.run.complain("execution_is_right", f"it ends unwritten: {error!r}")
            await asyncio.sleep(AGAIN_S)
            continue
        found = [(part.number, part.total) for part in result]
        if found != _undisturbed(checker.tasks):
            checker.run.complain("execution_is_right", f"the result is {found}")
        if checker.status != ExecutionStatus.COMPLETED:
            checker.run.complain("durable_before_it_leaves", f"a result, while {checker.status!r}")
        return


async def _resume_or_submit(
    fixture: ScenarioFixture, checker: ExecutionChecker, job: Job[Any, Any]
) -> ExecutionHandle[Any] | None:
    def submitted() -> ExecutionHandle[Any]:
        return fixture.system.submit(job, Labor(number=checker.tasks), execution_id=EXECUTION)

    checker.submissions += 1
    if checker.submissions % 2:
        return submitted()  # It attaches to what runs, or continues.
    try:
        return await fixture.system.resume(job, EXECUTION)
    except UsageError:
        return submitted()
    except StoreFailed:
        return None


async def take_over(fixture: ScenarioFixture, checker: ExecutionChecker) -> None:
    """Another writer takes over the log and its executions."""
    await fixture.later(BUSY_S)
    system = fixture.system
    opened = await open_disk_journal(system.settings, checker.disk, "another writer")
    system._executions = Executions(host_of(system), system._environment, opened)
    checker.opened.append(opened)
    await run_execution(fixture, checker)


def _draw_disk(draw: Any) -> DiskFaults:
    if draw() < 0.3:
        return NO_DISK_FAULTS
    return DiskFaults(
        write_max_s=0.02 * draw() ** 2,
        sync_max_s=0.2 * draw() ** 2,
        unavailable=0.3 * draw() ** 2,
        full=0.2 * draw() ** 2,
        unknown=0.4 * draw() ** 2,
    )


def new_checker(run: Run, tasks: int) -> ExecutionChecker:
    """Make a checker with its disk."""
    checker = ExecutionChecker(run, tasks)
    checker.disk = SimulatedDisk(run.draw, run.environment.wall_time, checker.synced)
    checker.disk.faults = _draw_disk(run.draw)
    return checker


async def prepare(fixture: ScenarioFixture, checker: ExecutionChecker, *, is_last: bool) -> None:
    """Start the pool of the execution; the disk of the last driver becomes healthy."""
    with contextlib.suppress(CallboardError):
        await fixture.system.pool(LaborAgent, size=6)
    if is_last:
        world = fixture.run.world
        world.at(world.now_s + BUSY_S, setattr, checker.disk, "faults", NO_DISK_FAULTS)


async def _drive(run: Run, checker: ExecutionChecker, *, is_last: bool) -> None:
    async with open_fixture(run) as fixture:
        await prepare(fixture, checker, is_last=is_last)
        others = []
        if run.draw() < 0.3:
            others.append(run_execution(fixture, checker, supersedes=True))
        if run.draw() < 0.3:
            others.append(take_over(fixture, checker))
        await run_under_faults(fixture, run_execution(fixture, checker), *others, count=2)
        await finish(fixture, checker)


async def finish(fixture: ScenarioFixture, checker: ExecutionChecker) -> None:
    """Run the execution to its end on a healthy disk: its last owner may be dead."""
    checker.disk.faults = NO_DISK_FAULTS
    opened = await open_disk_journal(fixture.system.settings, checker.disk, "the last writer")
    system = fixture.system
    system._executions = Executions(host_of(system), system._environment, opened)
    await run_execution(fixture, checker)
    # Not before: an owner that superseded another one still uses its journal.
    for journal in (*checker.opened, opened):
        await journal.close()
    checker.check()


async def durable(run: Run) -> None:
    """An execution whose driver dies again and again, with everything else."""
    checker = new_checker(run, 8 + int(run.draw() * 8))
    for _ in range(int(run.draw() * (KILLS_MAX + 1))):
        kill = draw_kill(run.draw)
        if await run_driver(
            run, checker.disk, checker, lambda: _drive(run, checker, is_last=False), kill
        ):
            return
    await run_driver(run, checker.disk, checker, lambda: _drive(run, checker, is_last=True), None)
