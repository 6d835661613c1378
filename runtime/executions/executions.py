"""The executions that one process runs: submits, journals and resumes them.

The process is a driver or, in a detached system with a journal, the host of its execution service
(`service/execution_service.py`).
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

from callboard.actors.executions.execution import Execution, FindHistory
from callboard.actors.executions.handle import ExecutionHandle, execution_of
from callboard.actors.executions.history import reading
from callboard.actors.executions.history.events import LostResult, stream_of
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.actors.executions.history.recorder import Recorder
from callboard.actors.executions.history.replay import Replay
from callboard.actors.executions.history.snapshots import HistorySnapshots
from callboard.actors.executions.spans import TRACEPARENT
from callboard.actors.executions.submissions import Submission, check_same, submission_in
from callboard.actors.executions.update_stream import newest_since
from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.inspection.metric_sources import Name, Reading
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    CallboardError,
    DeadlineExceeded,
    ExecutionIdTaken,
    UsageError,
)
from callboard.messages.jobs.execution import Progress, check_execution_id
from callboard.messages.jobs.job import Job, LargeResults
from callboard.messages.jobs.updates import SubTaskPartial

from ..admin.port import OfferedJob
from ..hosting.environment import Environment
from .journals import OpenJournal
from .states import SystemStates
from .withdrawal import withdraw_approvals

__all__ = [
    "RESUME_VARIABLE",
    "Executions",
    "Submits",
    "check_offer",
    "how_started",
    "read_history",
    "resumed_id",
    "trace_of_caller",
]

RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")
LOGGER: Final = logging.getLogger("callboard")
LOSSES_SHOWN: Final = 5
RESUME_VARIABLE: Final = "CALLBOARD_RESUME"
"""The execution that a restarted driver continues: `callboard resume` sets the variable."""
RELEASE_S: Final = 2.0
"""How long executions may take to release their work; then they end with their host."""
BEGUN_WITHIN_S: Final = 10.0
"""How long a client's submission may take to begin."""
ENDED_MAX: Final = 8
"""Executions that have just ended, whose newest partial results are kept."""
ENDED_S: Final = 10.0
JOBS_MAX: Final = 1_000
"""Jobs that a driver remembers; beyond that the last used."""


async def read_history(
    journal: Journal, execution_id: str, snapshots: HistorySnapshots | None = None
) -> ExecutionHistory | None:
    """The history of one execution; None when the journal has none."""
    base = None if snapshots is None else await snapshots.load(execution_id)
    return await reading.read_history(journal.read_stream, execution_id, base=base)


def check_offer(offered: Mapping[str, OfferedJob], job: Job[Any, Any]) -> None:
    """Raise `UsageError` when there is no room for one more offered job."""
    if job.name not in offered and len(offered) >= JOBS_MAX:
        raise UsageError(
            f"{JOBS_MAX} jobs are offered, which is the limit.",
            advice="Offer one job that takes the others as parts of its request.",
        )


class Known(NamedTuple):
    """The history of an execution in the journal, and its results that cannot be read any more."""

    history: ExecutionHistory
    losses: Mapping[int, CallboardError]


def resumed_id(environment: Environment) -> str:
    """The execution that this driver was started to continue; empty for none."""
    return os.environ.get(RESUME_VARIABLE, "") if environment.is_real else ""


def how_started(environment: Environment) -> dict[str, Any]:
    """The command line of this driver, so that it can be started again."""
    if not environment.is_real:
        return {}
    return {
        "argv": list(sys.orig_argv),
        "executable": sys.executable,
        "folder": os.getcwd(),  # noqa: PTH109 - a text is wanted
        "pid": os.getpid(),
    }


def trace_of_caller(host: Host) -> dict[str, str]:
    """The span of the calling code, for what the journal has about a submission."""
    current = None if host.tracing is None else host.tracing.current()
    return {} if current is None else {TRACEPARENT: current.traceparent}


class Submits(Protocol):
    """The executions of a driver: in its own process, or in the system that it is attached to."""

    @property
    def states(self) -> SystemStates:
        """See `System.states`."""

    async def prepare(self) -> None:
        """See `Executions.prepare`."""

    def submit(
        self,
        job: Job[RequestT, ResultT],
        request: RequestT,
        attributes: Mapping[str, Any] | None,
        execution_id: str | None,
    ) -> ExecutionHandle[ResultT]:
        """See `System.submit`."""

    async def resume(
        self, job: Job[RequestT, ResultT], execution_id: str
    ) -> ExecutionHandle[ResultT]:
        """See `System.resume`."""

    async def offer(self, job: Job[RequestT, Any], request: type[RequestT]) -> None:
        """See `System.offer`."""

    async def leave(self) -> None:
        """Release the executions: the driver leaves."""


class Executions:
    """The executions of one process."""

    def __init__(self, host: Host, environment: Environment, journal: OpenJournal | None) -> None:
        self._host = host
        self._environment = environment
        self.journal: Final = None if journal is None else journal.journal
        self._blobs = None if journal is None else journal.blobs
        self._states = None if journal is None else journal.states
        self._snapshots = None if journal is None else journal.snapshots
        if journal is not None:
            host.meters.instruments.add(journal.journal.reading)
            if journal.states is not None:
                for source in journal.states.sources():
                    host.meters.instruments.add(source)
            if journal.blobs is not None:
                host.meters.instruments.add(journal.blobs.reading)
        host.meters.instruments.add(self._reading)
        self._resumable: Known | None = None
        """The execution that the next matching submission continues."""
        self._by_id: dict[str, ExecutionHandle[Any]] = {}
        """The executions that run."""
        self._jobs: dict[str, Job[Any, Any]] = {}
        self._submitting: Final = asyncio.Lock()
        self.offered: Final[dict[str, OfferedJob]] = {}
        """The jobs that may be submitted from outside, by name."""
        self._recorders: dict[str, list[Recorder]] = {}
        """The recorders of executions that run, also of superseded ones."""
        self._ended: dict[str, tuple[Sequence[SubTaskPartial], int]] = {}
        """The newest partial results of executions that have just ended, and how many there were:
        those who follow one from outside ask a few times a second."""

    def _reading(self) -> Reading:
        """What the schedulers of this process have to do, as metrics."""
        gauges = dict.fromkeys(
            (Name("callboard_subtasks", status) for status in ("waiting", "ready", "running")), 0.0
        )
        for handle in self._by_id.values():
            scheduler = handle.statistics().scheduler
            progress = Progress() if scheduler is None else scheduler.progress
            gauges[Name("callboard_subtasks", "waiting")] += progress.waiting + progress.backing_off
            gauges[Name("callboard_subtasks", "ready")] += progress.ready
            gauges[Name("callboard_subtasks", "running")] += progress.running
        gauges[Name("callboard_executions")] = float(len(self._by_id))
        return Reading({}, gauges)

    @property
    def states(self) -> SystemStates:
        """The states of executions. Raises `UsageError` when the system keeps none."""
        if self._states is None:
            raise UsageError(
                "this system keeps no states of executions.",
                advice="Start it with `states=` a path or a URL.",
            )
        return self._states

    async def prepare(self) -> None:
        """Read the execution that this driver is to resume, if any, for the next submission.

        Raises `UsageError` when the journal does not have it.
        """
        execution_id = resumed_id(self._environment)
        if execution_id:
            self._resumable = await self._known(execution_id)

    async def _known(self, execution_id: str) -> Known:
        """What the journal has of an execution. Raises `UsageError` when it has nothing."""
        if self.journal is None:
            raise UsageError(
                f"execution {execution_id} cannot be resumed: this system has no journal.",
                advice="Start it with `journal=` a path or a URL, or set CALLBOARD_JOURNAL.",
            )
        known = await self._find(self.journal, execution_id)
        if known is None:
            raise UsageError(
                f"there is no execution {execution_id!r} in {self.journal.store.name}.",
                advice="`callboard ls` lists them.",
            )
        return known

    async def _find(self, journal: Journal, execution_id: str) -> Known | None:
        history = await read_history(journal, execution_id, self._snapshots)
        if history is None:
            return None
        if history.is_over or not any(packed.blob for _, packed in history.results.values()):
            return Known(history, {})
        if self._blobs is None:
            raise UsageError(
                f"execution {execution_id} has stored results, and this system does not know "
                "their folder.",
                advice="Give the setting `blobs` the value of the system that ran it.",
            )
        return Known(history, await self._blobs.lost(history))

    def submit(
        self,
        job: Job[RequestT, ResultT],
        request: RequestT,
        attributes: Mapping[str, Any] | None,
        execution_id: str | None,
        driver: Mapping[str, Any] | None = None,
    ) -> ExecutionHandle[ResultT]:
        """See `System.submit`; `driver` is the command line of another driver than this."""
        known = self._resumable
        is_job = known is not None and known.history.job == job.name
        if known is not None and is_job and execution_id in (None, known.history.id):
            self._resumable = None
            return self._continue(job, known)
        submission = Submission(job.name, request, attributes or {})
        if execution_id is not None:
            running = self._by_id.get(check_execution_id(execution_id))
            if running is not None:
                return self._attached(running, job, submission)
        recorder, find_history = None, None
        caller = trace_of_caller(self._host) if driver is None else driver
        if self.journal is not None:
            recorder = self._recorder(job, execution_id or self._environment.new_id(), 0)
            try:
                if driver is None:
                    driver = {**how_started(self._environment), **caller}
                recorder.submitted(*submission, driver, waits=execution_id is not None)
            except CallboardError as error:
                recorder.give_up(error)
            if execution_id is not None:
                find_history = partial(self._find_history, self.journal, recorder, submission)
        return self._start(
            job, request, attributes, recorder, None, execution_id, find_history,
            traceparent=str(caller.get(TRACEPARENT, "")),
        )  # fmt: skip

    def _attached(
        self, running: ExecutionHandle[Any], job: Job[Any, Any], submission: Submission
    ) -> ExecutionHandle[Any]:
        """The handle of an execution that runs here; one that fails for another request."""
        before = cast("Execution[Any]", execution_of(running)).submission

        async def refuse() -> None:
            check_same(running.id, before, submission)

        try:
            check_same(running.id, before, submission)
        except ExecutionIdTaken:
            return self._made(
                job, submission.request, submission.attributes, execution_id=running.id,
                find_history=refuse,
            )  # fmt: skip
        return running

    async def _find_history(
        self, journal: Journal, recorder: Recorder, submission: Submission
    ) -> ExecutionHistory | None:
        """Continue what the journal has under the id of a submission, or begin as a new one."""
        try:
            if recorder.failure is not None:
                raise recorder.failure  # The request cannot be journalled.
            known = await self._find(journal, recorder.execution_id)
            if known is not None:
                before = submission_in(known.history, self._replay(known.history))
                check_same(recorder.execution_id, before, submission)
        except CallboardError as error:
            recorder.withdraw(error)
            raise
        if known is None:
            recorder.flush()
            return None
        recorder.continue_from(known.history.version)
        self._take_up(known, recorder)
        return known.history

    def _replay(self, history: ExecutionHistory) -> Replay:
        return Replay(history, self._host.codec, self._host.contracts)

    def _take_up(self, known: Known, recorder: Recorder) -> None:
        if not known.history.is_over:
            recorder.resumed()
            self._record_losses(known, recorder)

    async def resume(
        self, job: Job[RequestT, ResultT], execution_id: str
    ) -> ExecutionHandle[ResultT]:
        """See `System.resume`."""
        known = await self._known(execution_id)
        while await self._silence(execution_id):
            known = await self._known(execution_id)
        if known.history.job != job.name:
            raise UsageError(
                f"execution {execution_id} belongs to job {known.history.job!r}, not {job.name!r}.",
                advice="Give the job that it was submitted with.",
            )
        return self._continue(job, known)

    async def _silence(self, execution_id: str) -> bool:
        """End the recorders here that still write this execution; False when there are none.

        An owner in another process is fenced already.
        """
        recorders = self._recorders.get(execution_id, ())
        running = [recorder for recorder in recorders if recorder.failure is None]
        for recorder in running:
            await recorder.supersede()
        return bool(running)

    def _continue(self, job: Job[Any, ResultT], known: Known) -> ExecutionHandle[ResultT]:
        history = known.history
        replay = self._replay(history)
        recorder = self._recorder(job, history.id, history.version)
        self._take_up(known, recorder)
        return self._start(job, replay.request(), replay.attributes(), recorder, history, None)

    def _record_losses(self, known: Known, recorder: Recorder) -> None:
        """Drop the lost results from the history, so that their sub-tasks run again."""
        history, losses = known
        if not losses:
            return
        lost = []
        for index, why in losses.items():
            attempt, _ = history.results[index]
            lost.append(LostResult(index, attempt, why.message))
        history.lose(lost)
        recorder.lost(lost)
        shown = ", ".join(history.ids[one.task] for one in lost[:LOSSES_SHOWN])
        LOGGER.warning(
            "Execution %s: %d results are lost, their sub-tasks run again (non-idempotent ones "
            "only by a decision): %s%s. %s", history.id, len(lost), shown,
            ", ..." if len(lost) > LOSSES_SHOWN else "", lost[0].why,
        )  # fmt: skip

    def _start(
        self,
        job: Job[Any, ResultT],
        request: Any,
        attributes: Mapping[str, Any] | None,
        recorder: Recorder | None,
        history: ExecutionHistory | None,
        execution_id: str | None,
        find_history: FindHistory | None = None,
        traceparent: str = "",
    ) -> ExecutionHandle[ResultT]:
        self._remember(job)
        handle = self._made(
            job, request, attributes, execution_id=execution_id, recorder=recorder,
            history=history, find_history=find_history, traceparent=traceparent,
        )  # fmt: skip
        self._by_id[handle.id] = handle
        if recorder is not None:
            self._recorders.setdefault(handle.id, []).append(recorder)
        handle.on_end(lambda: self._forget(handle, recorder))
        return handle

    def _made(
        self,
        job: Job[Any, ResultT],
        request: Any,
        attributes: Mapping[str, Any] | None,
        *,
        execution_id: str | None,
        recorder: Recorder | None = None,
        history: ExecutionHistory | None = None,
        find_history: FindHistory | None = None,
        traceparent: str = "",
    ) -> ExecutionHandle[ResultT]:
        new_id: Callable[[], str] = self._environment.new_id
        return Execution.start(
            self._host,
            job,
            request,
            new_id=new_id if execution_id is None else lambda: execution_id,
            random=self._environment.random,
            wall_time=self._environment.wall_time,
            attributes=attributes,
            recorder=recorder,
            history=history,
            blobs=None if self._blobs is None else self._blobs.store,
            find_history=find_history,
            traceparent=traceparent,
        )

    def _remember(self, job: Job[Any, Any]) -> None:
        self._jobs.pop(job.name, None)
        self._jobs[job.name] = job
        if len(self._jobs) > JOBS_MAX:
            del self._jobs[next(iter(self._jobs))]

    def _keep_partials(self, handle: ExecutionHandle[Any]) -> None:
        kept = handle.partials(0)
        if not kept[1]:
            return
        self._ended.pop(handle.id, None)
        self._ended[handle.id] = kept
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]
        self._host.run_task(self._drop_partials(handle.id, kept))

    async def _drop_partials(
        self, execution_id: str, kept: tuple[Sequence[SubTaskPartial], int]
    ) -> None:
        await asyncio.sleep(ENDED_S)
        if self._ended.get(execution_id) is kept:
            del self._ended[execution_id]

    def partials(
        self, execution_id: str, after: int
    ) -> tuple[Sequence[SubTaskPartial], int] | None:
        """See `ExecutionHandle.partials`, of an execution that runs here or has just ended."""
        handle = self._by_id.get(execution_id)
        if handle is not None:
            return handle.partials(after)
        newest, total = self._ended.get(execution_id, ((), 0))
        return (newest_since(newest, total, after), total) if total else None

    def _forget(self, handle: ExecutionHandle[Any], recorder: Recorder | None) -> None:
        self._keep_partials(handle)
        withdraw_approvals(self._host, handle, recorder)
        if recorder is not None:
            recorders = self._recorders[handle.id]
            recorders.remove(recorder)
            if not recorders:
                del self._recorders[handle.id]
                if self._snapshots is not None:
                    self._snapshots.forget(handle.id)
        # The same execution may have been resumed since.
        if self._by_id.get(handle.id) is handle:
            del self._by_id[handle.id]

    def running(self, execution_id: str) -> ExecutionHandle[Any] | None:
        """The handle of an execution that runs here; None for any other."""
        return self._by_id.get(execution_id)

    def all_running(self) -> Mapping[str, ExecutionHandle[Any]]:
        """The executions that run here, by id."""
        return self._by_id

    async def snapshot(self, execution_id: str) -> ExecutionHistory | None:
        """The newest snapshot of an execution; None without one."""
        if self._snapshots is None:
            return None
        found = await self._snapshots.load(execution_id)
        if execution_id not in self._by_id:
            self._snapshots.forget(execution_id)
        return found

    def job(self, name: str) -> Job[Any, Any] | None:
        """The job of that name, if an execution of it was submitted, resumed or offered here."""
        offered = self.offered.get(name)
        return self._jobs.get(name) if offered is None else offered.job

    async def submit_for(
        self,
        job: Job[Any, Any],
        request: Contract,
        attributes: Mapping[str, Any],
        execution_id: str,
        driver: Mapping[str, str],
    ) -> bool:
        """Submit for a client of the admin API; True unless the id was known.

        It returns when the execution has begun.

        Gives whether this began the execution. Raises `ExecutionIdTaken`, and `DeadlineExceeded`
        when the journal does not answer.
        """
        driver = {**how_started(self._environment), **driver}
        async with self._submitting:
            submission = Submission(job.name, request, attributes)
            is_known = await self._is_known(execution_id, submission)
            self.submit(job, request, attributes, execution_id, driver)
        try:
            async with asyncio.timeout(BEGUN_WITHIN_S):
                await self.until_durable(execution_id)
        except TimeoutError:
            raise DeadlineExceeded(
                f"execution {execution_id} is not in the journal within {BEGUN_WITHIN_S} s.",
                advice="It goes on: submit the same request under the same id again.",
            ) from None
        return not is_known

    async def _is_known(self, execution_id: str, submission: Submission) -> bool:
        """Whether this request has this id. Raises `ExecutionIdTaken` when another one has it."""
        running = self._by_id.get(execution_id)
        if running is not None:
            before = cast("Execution[Any]", execution_of(running)).submission
        elif self.journal is None:
            return False
        else:
            history = await read_history(self.journal, execution_id)
            if history is None:
                return False
            before = submission_in(history, self._replay(history))
        check_same(execution_id, before, submission)
        return True

    async def until_durable(self, execution_id: str) -> None:
        """Wait until the journal has the submission, or the execution has failed before that.

        The caller has a deadline around it.
        """
        journal = self.journal
        if journal is None:
            return
        committed = asyncio.Event()
        unlisten = journal.on_commit(lambda _head: committed.set())
        try:
            while not await journal.read_stream(stream_of(execution_id), limit=1):
                if execution_id not in self._by_id:
                    return
                await committed.wait()
                committed.clear()
        finally:
            unlisten()

    async def offer(self, job: Job[Any, Any], request: type[Contract]) -> None:
        """See `System.offer`."""
        check_offer(self.offered, job)
        self.offered[job.name] = OfferedJob(job, request)

    async def leave(self) -> None:
        """Release the journalled executions before actors stop; they can be resumed.

        Otherwise the stop would look like a failure of each attempt that it interrupts.
        """
        journalled = [self._by_id[id_] for id_ in self._recorders if id_ in self._by_id]
        executions = [cast("Execution[Any]", execution_of(handle)) for handle in journalled]
        outcomes = [execution.outcome for execution in executions if not execution.outcome.done()]
        for execution in executions:
            execution.let_go()
        if outcomes:
            await asyncio.wait(outcomes, timeout=RELEASE_S)

    def _recorder(self, job: Job[Any, Any], execution_id: str, version: int) -> Recorder:
        assert self.journal is not None
        return Recorder(
            self.journal,
            self._host.codec,
            execution_id=execution_id,
            owner=self.journal.owner,
            nonce=self._environment.new_id(),
            wall_time=self._environment.wall_time,
            result_bytes_max=job.result_bytes_max,
            version=version,
            blobs=self._blobs if job.large_results is LargeResults.STORE else None,
            stored_bytes_max=job.stored_bytes_max,
            on_durable=None if self._snapshots is None else self._snapshots.committed,
        )
