"""One execution: a submitted request, from validation to delivery.

`_execute` calls each part of the job in its phase. `PlanRun` runs the plan, the longest phase.

Invariants: `outcome` is set exactly once, after the update `Finished`; an exception of a part of
the job becomes the outcome, and appears nowhere else.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    CallboardError,
    Cancelled,
    DeadlineExceeded,
    RequestRejected,
    ResultRejected,
    UsageError,
    error_from_data,
)
from callboard.messages.jobs.execution import Decision, ExecutionStatus, StateTransitionTrigger
from callboard.messages.jobs.job import Decompose, Job, JobContext, Route, Streams
from callboard.messages.jobs.plan import Plan
from callboard.messages.jobs.updates import (
    ExecutionPhase,
    ExecutionState,
    ExecutionUpdate,
    SubTaskPartial,
)
from callboard.messages.storage.blobs import BlobStore
from callboard.messages.storage.errors import ResultLost

from ..kernel.failures import deciding_error
from .collector import Collector
from .handle import ExecutionHandle
from .history.changes import was_cancelled
from .history.fold import ExecutionHistory
from .history.recorder import Recorder
from .history.replay import Replay
from .measures import StepMeasures
from .parts import check_all, part_failed, sub_task_failed
from .preparation import Preparation, gather_sub_tasks
from .record import ExecutionRecord, ExecutionStatistics
from .run import PlanRun
from .spans import TRACEPARENT, ExecutionSpans, spans_of
from .step_keys import KEY_FORM, step_keys
from .submissions import Submission

if TYPE_CHECKING:
    from ..kernel.host.host import Host

__all__ = ["Execution", "FindHistory"]

RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")

FindHistory = Callable[[], Coroutine[Any, Any, ExecutionHistory | None]]
"""Looks for the history of an execution with an id that its caller chose; None without one."""

NO_DEADLINE_S: Final = 30 * 24 * 3600.0
"""The deadline of asks in an execution without a time limit, in seconds."""


class Execution(Generic[ResultT]):
    """One submitted request; see `start`."""

    def __init__(
        self,
        host: "Host",
        job: Job[Any, ResultT],
        request: Contract,
        record: ExecutionRecord,
        random: Callable[[], float],
        history: ExecutionHistory | None,
        blobs: BlobStore | None,
        find_history: FindHistory | None,
        *,
        traceparent: str,
    ) -> None:
        self.id: Final = record.id
        self.record: Final = record
        self.is_journalled = False
        """Whether its end is in the journal, so that no process needs to resume it."""
        self._blobs = blobs
        self._recorder = record.recorder
        self._history = history
        self._find_history = find_history
        self._traceparent = traceparent
        self._spans: ExecutionSpans | None = None
        self.outcome: Final[asyncio.Future[ResultT]] = host.loop.create_future()
        self._host = host
        self._job = job
        self._request: Any = request
        self._random = random
        self._run: PlanRun | None = None
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stopped_by: CallboardError | None = None
        self._is_let_go = False
        """The error of a stop from outside: cancellation, deadline, or journal."""

    @classmethod
    def start(
        cls,
        host: "Host",
        job: Job[RequestT, ResultT],
        request: RequestT,
        *,
        new_id: Callable[[], str],
        random: Callable[[], float],
        wall_time: Callable[[], float],
        attributes: Mapping[str, Any] | None = None,
        recorder: Recorder | None = None,
        history: ExecutionHistory | None = None,
        blobs: BlobStore | None = None,
        find_history: FindHistory | None = None,
        traceparent: str = "",
    ) -> ExecutionHandle[ResultT]:
        """Submit `request`; the execution is under way when this returns.

        `wall_time` gives seconds since 1970, `random` numbers in [0, 1), and `new_id` a unique
        id. The job's `enrich` gets `attributes`.

        With a `recorder`, the execution is journalled under the recorder's id. With a `history`
        as well, it resumes from there; `blobs` has the large results. With `find_history` it
        first asks for the history that the journal has under its id. `traceparent` names the span
        that a new one belongs to.
        """
        record = ExecutionRecord(
            host,
            execution_id=new_id() if recorder is None else recorder.execution_id,
            job=job.name,
            attributes=attributes or {},
            partial_every=job.partial_every,
            wall_time=wall_time,
            recorder=recorder,
        )
        execution: Execution[ResultT] = Execution(
            host,
            job,
            request,
            record,
            random,
            history,
            blobs,
            find_history,
            traceparent=traceparent,
        )
        if find_history is None:
            record.begin(history)
        if recorder is not None:
            recorder.on_failure = execution._stop_unjournalled
        execution._begin()
        return ExecutionHandle(execution)

    def _begin(self) -> None:
        if self._job.timeout_s is not None:
            at_s = self.record.started_s + self._job.timeout_s
            self._deadline = self._host.loop.call_at(at_s, self._stop_at_deadline)
        self._task = self._host.start_task(self._run_to_end())
        # A task that is cancelled before its first step (the host closes) runs nothing, so the
        # callback must set the outcome.
        self._task.add_done_callback(self._fail_if_unfinished)

    # --- the phases ----------------------------------------------------------------------

    async def _run_to_end(self) -> None:
        try:
            if self._find_history is not None:
                await self._begin_as_known(self._find_history)
            if self._history is not None and self._history.is_over:
                self.is_journalled = True
                self._end(await self._merge_again(self._history))
                return
            result = await self._execute()
            await self._journal_step(ExecutionStatus.COMPLETED, StateTransitionTrigger.SUCCEEDED)
            self.is_journalled = self._recorder is not None
            self._end(result)
        except BaseException as raised:
            error = deciding_error(raised)
            if isinstance(error, asyncio.CancelledError) and self._is_cancelled(error):
                await self._fail_durably(self._stopped_by or self._cancelled())
                return
            if self._host.ends_task(error):
                raise
            failed = part_failed(self._job.name, self.record.phase, error)
            await self._fail_durably(self._stopped_by or failed)

    async def _begin_as_known(self, find_history: FindHistory) -> None:
        """Begin with the history that the journal has. A cancellation waits for the answer."""
        looking = self._host.loop.create_task(find_history())
        is_cancelled = False
        while not looking.done():
            try:
                await asyncio.wait((looking,))
            except asyncio.CancelledError:
                is_cancelled = True
        self._history = looking.result()
        self.record.begin(self._history)
        if is_cancelled:
            raise asyncio.CancelledError

    @property
    def submission(self) -> Submission:
        """What was submitted."""
        return Submission(self._job.name, self._request, self.record.attributes)

    async def _execute(self) -> ResultT:
        if self._history is not None:
            self._traceparent = str(self._history.submitted.driver.get(TRACEPARENT, ""))
        self._spans = spans_of(
            self._host.tracing, self.id, self._job.name, self._traceparent, self.record.started_at
        )
        if self._history is not None and self._history.has_plan:
            replay = self._replay(self._history)
            route = Route(self._history.plan_maker, self._history.agents)
            return await self._complete(await self._run_plan(replay, route))
        made, route = await self._planned()
        return await self._complete(await self._run_plan(made, route))

    @property
    def _key_form(self) -> int:
        return KEY_FORM if self._history is None else self._history.submitted.keys

    def _replay(self, history: ExecutionHistory) -> Replay:
        return Replay(history, self._host.codec.copy(), self._host.contracts, self._blobs)

    async def _merge_again(self, history: ExecutionHistory) -> ResultT:
        """The outcome of an execution that has ended, without a second delivery."""
        if history.status is not ExecutionStatus.COMPLETED:
            raise error_from_data(history.steps[-1].metadata.get("error"))
        route = Route(history.plan_maker, history.agents)
        collector = await self._run_plan(self._replay(history), route)
        return await self._merged(collector)

    async def _planned(self) -> tuple[Any, Route]:
        """From the request to the plan."""
        job, phase = self._job, ExecutionPhase
        if self._recorder is not None and self._recorder.failure is not None:
            raise self._recorder.failure  # The request cannot be journalled.
        await self._part(phase.VALIDATING, check_all, job.validate, self._request, RequestRejected)
        request = await self._part(phase.ENRICHING, job.enrich, self._request, self._context())
        route: Route = await self._part(phase.ROUTING, job.route, request)
        plan_maker = job.plan_maker(route.plan_maker)
        made: Any = await self._part(phase.DECOMPOSING, self._decompose, plan_maker, request)
        return await gather_sub_tasks(made), route

    async def _complete(self, collector: Collector) -> ResultT:
        """From the results to the delivery; gives the caller's result."""
        job, phase = self._job, ExecutionPhase
        result = await self._merged(collector)
        output = await self._part(phase.FORMATTING, job.format, result)
        await self._part(phase.DELIVERING, job.deliver, output)
        return result

    async def _merged(self, collector: Collector) -> ResultT:
        """From the results to the caller's result."""
        job, phase = self._job, ExecutionPhase
        self.record.enter(phase.MERGING)
        await collector.fold()
        merged = await self._part(phase.MERGING, collector.merged)
        merged = await self._part(phase.RESOLVING, job.resolve, merged)
        await self._part(phase.CHECKING, check_all, job.check, merged, ResultRejected)
        result: ResultT = await self._part(phase.TRANSFORMING, job.transform, merged)
        return result

    async def _part(self, phase: ExecutionPhase, part: Callable[..., Any], *given: Any) -> Any:
        """Call a part of the job, in a thread if its phase is in `Job.threads`."""
        self.record.enter(phase)
        if phase in self._job.threads:
            return await self._host.dispatcher.run_in_thread(part, *given)
        return part(*given)

    def _context(self) -> JobContext:
        record = self.record
        return JobContext(
            execution_id=record.id,
            job=record.job,
            attributes=record.attributes,
            started_at=record.started_at,
            offers=record.executors.is_offered,
        )

    def _decompose(self, plan_maker: Decompose[Any], request: Any) -> Any:
        made = plan_maker(request)
        if ExecutionPhase.DECOMPOSING in self._job.threads and not isinstance(made, Plan):
            return tuple(made)  # A generator does its work here, in the thread.
        return made

    async def _run_plan(self, made: Any, route: Route) -> Collector:
        job, record = self._job, self.record
        collector = Collector(job)
        preparation = Preparation(self._host, job, route, record.executors, collector)
        if isinstance(made, Replay):
            core = await preparation.restored(made)
        else:
            core = await preparation.core(made)
            if self._recorder is not None:
                # The submission must be durable before any agent gets a sub-task.
                await self._recorder.settled()
                await self._recorder.planned(route, core.sub_tasks())
        record.journals_partials = self._recorder is not None and job.streams is Streams.JOURNAL
        record.enter(ExecutionPhase.RUNNING)
        run = PlanRun(
            host=self._host,
            core=core,
            executors=record.executors,
            collector=collector,
            expand=None if job.expand is None else preparation.expand,
            deadline_s=record.started_s + (job.timeout_s or NO_DEADLINE_S),
            unserved_grace_s=job.unserved_grace_s,
            random=self._random,
            measures=StepMeasures(self._host.meter, job.name, record.id),
            on_turn=record.moved,
            on_trouble=record.troubled,
            on_partial=record.streamed,
            step_key=step_keys(record.id, self._key_form),
            in_doubt=job.in_doubt,
            recorder=self._recorder,
            grown=made.grown if isinstance(made, Replay) else frozenset(),
            journals_partials=record.journals_partials,
            spans=self._spans,
        )
        record.collector, record.preparation = collector, preparation
        self._run = record.run = run
        if record.status is ExecutionStatus.PENDING:
            self._note_step(ExecutionStatus.RUNNING, StateTransitionTrigger.SUBMITTED)
            record.step(ExecutionStatus.RUNNING, StateTransitionTrigger.SUBMITTED)
        try:
            run.start()
            # Shielded: `break_off` must stop the attempts under way before the run ends.
            how = await asyncio.shield(run.ended)
        except asyncio.CancelledError:
            run.break_off(self._stopped_by or self._cancelled())
            run.ended.exception()  # Retrieved: this method raises.
            raise
        finally:
            record.moved()
        match how.status:
            case ExecutionStatus.FAILED:
                raise sub_task_failed(job.name, how)
            case ExecutionStatus.CANCELLED:
                raise self._stopped_by or self._cancelled()
            case _:
                return collector

    # --- stopping ------------------------------------------------------------------------

    def cancel(self, by: str = "") -> bool:
        """See `ExecutionHandle.cancel`."""
        return self._stop(was_cancelled(self.id, self._job.name, by))

    async def cancel_task(self, task_id: str) -> bool:
        """See `ExecutionHandle.cancel_task`."""
        if self._run is None or self._run.ended.done():
            raise UsageError(
                f"execution {self.id} is {self.record.phase}: it has no sub-tasks to cancel.",
                advice="Cancel the execution, or wait until it is running.",
            )
        try:
            return self._run.cancel_task(task_id)
        except KeyError:
            raise self._no_sub_task(task_id) from None

    async def decide(self, task_id: str, decision: Decision, by: str, reason: str) -> bool:
        """See `ExecutionHandle.decide`."""
        if self._run is None or self._run.ended.done():
            raise UsageError(
                f"execution {self.id} is {self.record.phase}: it has no sub-task in doubt."
            )
        try:
            return self._run.decide(task_id, decision, by, reason)
        except KeyError:
            raise self._no_sub_task(task_id) from None

    def _no_sub_task(self, task_id: str) -> UsageError:
        return UsageError(
            f"execution {self.id} has no sub-task {task_id!r}.",
            advice="`callboard show` lists its sub-tasks.",
        )

    def let_go(self) -> None:
        """Stop the execution here without ending it, so that it can be resumed."""
        if self._task is not None:
            self._is_let_go = True
            self._task.cancel()

    def _is_cancelled(self, error: BaseException) -> bool:
        """Whether its task was cancelled; a part may also raise `CancelledError` by itself."""
        return self._stopped_by is not None or self._is_let_go or self._host.ends_task(error)

    def _cancelled(self) -> Cancelled:
        return was_cancelled(self.record.id, self._job.name)

    def _stop_at_deadline(self) -> None:
        self._deadline = None
        self._stop(
            DeadlineExceeded(
                f"execution {self.record.id} of job {self._job.name!r} "
                f"took over {self._job.timeout_s} s.",
                advice="Give it more time with Job.timeout_s.",
            )
        )

    def _stop(self, error: CallboardError) -> bool:
        if self.outcome.done() or self._stopped_by is not None:
            return False
        self._stopped_by = error
        if self._run is None or not self._run.cancel():
            assert self._task is not None
            self._task.cancel()
        return True

    # --- the end -------------------------------------------------------------------------

    def _end(self, result: ResultT) -> None:
        if not self._was_over:
            self.record.step(ExecutionStatus.COMPLETED, StateTransitionTrigger.SUCCEEDED)
        self._finish(result, None)
        self.outcome.set_result(result)

    def _fail(self, error: CallboardError) -> None:
        if not self._was_over:
            to, trigger = self._end_of(error)
            self.record.step(to, trigger, code=error.code, phase=str(self.record.phase))
        self._finish(None, error)
        self.outcome.set_exception(error)
        # Retrieved: a caller need not ask for the result.
        self.outcome.exception()

    @property
    def _was_over(self) -> bool:
        return self._history is not None and self._history.is_over

    def _end_of(self, error: CallboardError) -> tuple[ExecutionStatus, StateTransitionTrigger]:
        if isinstance(error, Cancelled):
            return ExecutionStatus.CANCELLED, StateTransitionTrigger.CANCEL_REQUESTED
        if error is self._stopped_by:
            return ExecutionStatus.FAILED, StateTransitionTrigger.TIMED_OUT
        if self.record.phase is ExecutionPhase.RUNNING:
            return ExecutionStatus.FAILED, StateTransitionTrigger.ATTEMPT_FAILED
        return ExecutionStatus.FAILED, StateTransitionTrigger.PART_FAILED

    # --- the journal -----------------------------------------------------------------------

    def _note_step(
        self, to: ExecutionStatus, trigger: StateTransitionTrigger, **metadata: Any
    ) -> None:
        if self._recorder is not None:
            now = self.record.wall_time()
            self._recorder.stepped(self.record.status, to, now, trigger, metadata)

    async def _journal_step(
        self, to: ExecutionStatus, trigger: StateTransitionTrigger, **metadata: Any
    ) -> None:
        """Journal the last transition, and wait until it is durable."""
        self._note_step(to, trigger, **metadata)
        if self._recorder is not None:
            await self._recorder.settled()

    async def _fail_durably(self, error: CallboardError) -> None:
        """Fail, after journalling the failure.

        Only `cancel` and errors of the job end an execution in the journal. An execution whose
        driver goes away, or that cannot be journalled or read, has not ended: it can be resumed.
        """
        wants_end = self._stopped_by is not None or not isinstance(error, Cancelled | ResultLost)
        if self._recorder is not None and wants_end and not self._was_over:
            to, trigger = self._end_of(error)
            with contextlib.suppress(CallboardError):
                await self._journal_step(
                    to,
                    trigger,
                    code=error.code,
                    phase=str(self.record.phase),
                    error=error.to_data(),
                )
                self.is_journalled = True
        self._fail(error)

    def _stop_unjournalled(self, error: CallboardError) -> None:
        """Stop, because the journal takes no more events: further work would be lost."""
        if self.outcome.done() or self._stopped_by is not None:
            return
        self._stopped_by = error
        if self._run is not None and not self._run.ended.done():
            self._run.break_off(error)
        elif self._task is not None:
            self._task.cancel()

    def _finish(self, result: Any, error: CallboardError | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._spans is not None:
            is_over = self._recorder is None or self.is_journalled
            (self._spans.end if is_over else self._spans.leave)(error)
        self.record.finish(result, error)

    # --- state -----------------------------------------------------------------------------

    def updates(self) -> AsyncIterator[ExecutionUpdate]:
        """See `ExecutionHandle.updates`."""
        return self.record.stream.read()

    def state(self) -> ExecutionState:
        """See `ExecutionHandle.state`."""
        return self.record.state()

    def partials(self, after: int) -> tuple[Sequence[SubTaskPartial], int]:
        """See `ExecutionHandle.partials`."""
        return self.record.stream.partials_since(after)

    def statistics(self) -> ExecutionStatistics:
        """See `ExecutionHandle.statistics`."""
        return self.record.statistics()

    @property
    def problem(self) -> str:
        """Empty: a local execution reports its obstacles by updates."""
        return ""

    def _fail_if_unfinished(self, _task: "asyncio.Task[None]") -> None:
        if not self.outcome.done():
            self._fail(self._stopped_by or self._cancelled())
