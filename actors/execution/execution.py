"""One execution: a submitted request on its whole way, from validation to delivery.

The way is in `_walk`, top to bottom. Each part of the job is called in its phase; the
long one in the middle, running the plan, belongs to `PlanRun`.

Invariants: the status follows `EXECUTION_TRANSITIONS`; `outcome` is set exactly once, and
`Finished` is the last update; nothing the job's parts raise gets out of here otherwise.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ..scheduler.statistics import SchedulerStatistics
from callboard.messages.contract import Contract
from callboard.messages.errors import (
    CallboardError,
    Cancelled,
    DeadlineExceeded,
    RequestRejected,
    ResultRejected,
    UsageError,
)
from callboard.messages.execution import (
    ExecutionStatus,
    Progress,
    StateTransition,
    StateTransitionTrigger,
)
from callboard.messages.job import Decompose, Job, JobContext, Route
from callboard.messages.plan import Plan
from callboard.messages.updates import (
    ExecutionMetrics,
    ExecutionPhase,
    ExecutionState,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    StateChanged,
    TaskTroubled,
)

from .collector import Collector
from .handle import ExecutionHandle
from .lanes import LaneFigures, Lanes
from .parts import check_all, part_failed, sub_task_failed
from .preparation import Preparation, gather_sub_tasks
from .run import PlanRun
from .stream import UpdateStream

if TYPE_CHECKING:
    from ..host.host import Host

__all__ = ["Execution", "ExecutionStatistics"]

RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")

NO_DEADLINE_S: Final = 30 * 24 * 3600.0
"""An ask has a deadline; that of an execution without one is beyond what anybody waits for."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExecutionStatistics:
    """The figures of one execution; those of the plan are None until there is one."""

    execution_id: str
    status: ExecutionStatus
    phase: ExecutionPhase
    elapsed_s: float
    results: int
    scheduler: SchedulerStatistics | None
    lanes: tuple[LaneFigures, ...]


class Execution(Generic[ResultT]):
    """One submitted request; see `start`."""

    def __init__(
        self,
        host: "Host",
        job: Job[Any, ResultT],
        request: Contract,
        *,
        execution_id: str,
        attributes: Mapping[str, Any],
        random: Callable[[], float],
        wall_time: Callable[[], float],
    ) -> None:
        self.id: Final = execution_id
        self._host = host
        self._job = job
        self._request: Any = request
        self._attributes = dict(attributes)
        self._random = random
        self._wall_time = wall_time
        self._started_s = host.now()
        self._ended_s: float | None = None
        self._started_at = wall_time()
        self._ended_at: float | None = None
        self._status = ExecutionStatus.PENDING
        self._phase = ExecutionPhase.VALIDATING
        self._transitions: list[StateChanged] = []
        self._error: CallboardError | None = None
        self._stopped_by: CallboardError | None = None
        self._lanes = Lanes(host)
        self._collector: Collector | None = None
        self._preparation: Preparation | None = None
        self._run: PlanRun | None = None
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.outcome: Final[asyncio.Future[ResultT]] = host.loop.create_future()
        self.stream: Final = UpdateStream(host.loop, host.now, self._progressed, self._partial)

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
    ) -> ExecutionHandle[ResultT]:
        """Submit `request`; it is on its way when this returns.

        `wall_time` gives seconds since 1970, `random` numbers in [0, 1), `new_id` a name
        that no other execution has. `attributes` reach the job's `enrich`.
        """
        execution: Execution[ResultT] = Execution(
            host,
            job,
            request,
            execution_id=new_id(),
            attributes=attributes or {},
            random=random,
            wall_time=wall_time,
        )
        execution._begin()
        return ExecutionHandle(execution)

    def _begin(self) -> None:
        self.stream.note(self._phase_changed())
        if self._job.timeout_s is not None:
            at_s = self._started_s + self._job.timeout_s
            self._deadline = self._host.loop.call_at(at_s, self._time_is_over)
        self._task = self._host.run_task(self._walk())
        # Whoever cancels it before its first step (a host that closes) must not leave the
        # caller waiting: the coroutine has not begun then, and cannot say so itself.
        self._task.add_done_callback(self._walked)

    # --- the way -------------------------------------------------------------------------

    async def _walk(self) -> None:
        try:
            self._end(await self._way())
        except asyncio.CancelledError:
            self._fail(self._stopped_by or Cancelled(f"execution {self.id} was cancelled."))
        except Exception as error:  # noqa: BLE001 - the parts of a job may raise anything
            failed = part_failed(self._job.name, self._phase, error)
            self._fail(self._stopped_by or failed)

    async def _way(self) -> ResultT:
        job, phase = self._job, ExecutionPhase
        await self._part(phase.VALIDATING, check_all, job.validate, self._request, RequestRejected)
        request = await self._part(phase.ENRICHING, job.enrich, self._request, self._context())
        route: Route = await self._part(phase.ROUTING, job.route, request)
        plan_maker = job.plan_maker(route.plan_maker)
        made: Any = await self._part(phase.DECOMPOSING, self._made_by, plan_maker, request)
        made = await gather_sub_tasks(made)
        collector = await self._run_plan(made, route)
        self._enter(phase.MERGING)
        await collector.fold()
        merged = await self._part(phase.MERGING, collector.merged)
        merged = await self._part(phase.RESOLVING, job.resolve, merged)
        await self._part(phase.CHECKING, check_all, job.check, merged, ResultRejected)
        result: ResultT = await self._part(phase.TRANSFORMING, job.transform, merged)
        output = await self._part(phase.FORMATTING, job.format, result)
        await self._part(phase.DELIVERING, job.deliver, output)
        return result

    async def _part(self, phase: ExecutionPhase, part: Callable[..., Any], *given: Any) -> Any:
        """Call one part, in a thread if the job says so."""
        self._enter(phase)
        if phase in self._job.threads:
            return await self._host.dispatcher.in_thread(part, *given)
        return part(*given)

    def _made_by(self, plan_maker: Decompose[Any], request: Any) -> Any:
        made = plan_maker(request)
        if ExecutionPhase.DECOMPOSING in self._job.threads and not isinstance(made, Plan):
            return tuple(made)  # A generator has done nothing so far: it works here.
        return made

    async def _run_plan(self, made: Any, route: Route) -> Collector:
        job = self._job
        collector = self._collector = Collector(job)
        preparation = Preparation(self._host, job, route, self._lanes, collector)
        core = await preparation.core(made)
        self._preparation = preparation
        self._enter(ExecutionPhase.RUNNING)
        run = self._run = PlanRun(
            host=self._host,
            core=core,
            lanes=self._lanes,
            collector=collector,
            expand=None if job.expand is None else preparation.expand,
            deadline_s=self._started_s + (job.timeout_s or NO_DEADLINE_S),
            unserved_grace_s=job.unserved_grace_s,
            random=self._random,
            on_turn=self._moved,
            on_trouble=self._troubled,
        )
        self._step(ExecutionStatus.RUNNING, StateTransitionTrigger.SUBMITTED)
        try:
            run.start()
            how = await run.ended
        except asyncio.CancelledError:
            run.break_off(self._stopped_by or Cancelled(f"execution {self.id} was cancelled."))
            raise
        finally:
            self._moved()
        match how.status:
            case ExecutionStatus.FAILED:
                raise sub_task_failed(job.name, how)
            case ExecutionStatus.CANCELLED:
                raise self._stopped_by or Cancelled(f"execution {self.id} was cancelled.")
            case _:
                return collector

    # --- stopping ------------------------------------------------------------------------

    def cancel(self) -> bool:
        """See `ExecutionHandle.cancel`."""
        return self._stop(Cancelled(f"execution {self.id} was cancelled by its caller."))

    def cancel_task(self, task_id: str) -> bool:
        """See `ExecutionHandle.cancel_task`."""
        if self._run is None or self._run.ended.done():
            raise UsageError(
                f"execution {self.id} is {self._phase}: no sub-task of it can be cancelled.",
                advice="Cancel the execution, or wait until it is running.",
            )
        return self._run.cancel_task(task_id)

    def _time_is_over(self) -> None:
        self._deadline = None
        self._stop(
            DeadlineExceeded(
                f"execution {self.id} of job {self._job.name!r} took over {self._job.timeout_s} s.",
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

    # --- status --------------------------------------------------------------------------

    def _enter(self, phase: ExecutionPhase) -> None:
        if phase is not self._phase:
            self._phase = phase
            self.stream.note(self._phase_changed())

    def _phase_changed(self) -> PhaseChanged:
        return PhaseChanged(execution_id=self.id, phase=self._phase, timestamp=self._wall_time())

    def _step(
        self, to: ExecutionStatus, trigger: StateTransitionTrigger, **metadata: Any
    ) -> None:
        # Made for its check alone: a step that the table does not know is a defect.
        step = StateTransition(self._status, to, self._wall_time(), trigger, metadata)
        change = StateChanged(
            execution_id=self.id,
            from_status=self._status,
            to=to,
            timestamp=step.timestamp,
            trigger=trigger,
            metadata=metadata,
        )
        self._status = to
        self._transitions.append(change)
        self.stream.note(change)

    def _end(self, result: ResultT) -> None:
        self._step(ExecutionStatus.COMPLETED, StateTransitionTrigger.SUCCEEDED)
        self._finish(result, None)
        self.outcome.set_result(result)

    def _fail(self, error: CallboardError) -> None:
        if self.outcome.done():
            return
        self._error = error
        status, trigger = ExecutionStatus.FAILED, StateTransitionTrigger.PART_FAILED
        if error is self._stopped_by:
            if isinstance(error, Cancelled):
                status, trigger = ExecutionStatus.CANCELLED, StateTransitionTrigger.CANCEL_REQUESTED
            else:
                trigger = StateTransitionTrigger.TIMED_OUT
        elif isinstance(error, Cancelled):
            status, trigger = ExecutionStatus.CANCELLED, StateTransitionTrigger.CANCEL_REQUESTED
        elif self._phase is ExecutionPhase.RUNNING:
            trigger = StateTransitionTrigger.ATTEMPT_FAILED
        self._step(status, trigger, code=error.code, phase=str(self._phase))
        self._finish(None, error)
        self.outcome.set_exception(error)
        # Whoever asks for the result gets it; nobody has to.
        self.outcome.exception()

    def _finish(self, result: Any, error: CallboardError | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._ended_s, self._ended_at = self._host.now(), self._wall_time()
        self._enter(ExecutionPhase.ENDED)
        self.stream.finish(
            Finished(
                execution_id=self.id,
                status=self._status,
                elapsed_s=self._ended_s - self._started_s,
                result=result,
                error=None if error is None else error.to_data(),
            )
        )

    def _walked(self, task: "asyncio.Task[None]") -> None:
        if not self.outcome.done():
            self._fail(self._stopped_by or Cancelled(f"execution {self.id} never began."))

    # --- telling -------------------------------------------------------------------------

    def _context(self) -> JobContext:
        return JobContext(
            execution_id=self.id,
            job=self._job.name,
            attributes=self._attributes,
            started_at=self._started_at,
            offers=self._lanes.is_offered,
        )

    def _moved(self) -> None:
        assert self._collector is not None
        self.stream.moved(self._collector.results, self._job.partial_every)

    def _troubled(self, task_id: str, attempt: int, error: CallboardError, retried: bool) -> None:  # noqa: FBT001 - a callback's shape
        self.stream.note(
            TaskTroubled(
                execution_id=self.id,
                task_id=task_id,
                attempt=attempt,
                code=error.code,
                message=error.message,
                retried=retried,
            )
        )

    def _progressed(self) -> Progressed:
        counts = Progress() if self._run is None else self._run.core.progress()
        retries = 0 if self._run is None else self._run.core.statistics().retries
        return Progressed(
            execution_id=self.id,
            total=counts.total,
            fraction=counts.fraction,
            retries=retries,
            elapsed_s=self._elapsed_s(),
            **dataclasses.asdict(counts),
        )

    def _partial(self) -> PartialResult | None:
        if self._collector is None or self._run is None or self._run.ended.done():
            return None
        try:
            value = self._collector.partial()
        except Exception:  # noqa: BLE001 - what cannot be reduced yet may be later; if not, the end tells
            return None
        return PartialResult(execution_id=self.id, value=value, results=self._collector.results)

    def _elapsed_s(self) -> float:
        return (self._host.now() if self._ended_s is None else self._ended_s) - self._started_s

    def state(self) -> ExecutionState:
        """See `ExecutionHandle.state`."""
        figures = None if self._run is None else self._run.core.statistics()
        progress = Progress() if figures is None else figures.progress
        return ExecutionState(
            execution_id=self.id,
            agent_id=self._host.name,
            job=self._job.name,
            status=self._status,
            current_phase=self._phase,
            start_time=_moment(self._started_at),
            end_time=None if self._ended_at is None else _moment(self._ended_at),
            context=self._attributes,
            intermediate_results=0 if self._collector is None else self._collector.results,
            metrics=ExecutionMetrics(
                sub_tasks=progress.total,
                done=progress.done,
                failed=progress.failed,
                running=progress.running,
                attempts=0 if figures is None else figures.attempts_started,
                retries=0 if figures is None else figures.retries,
                timeouts=0 if figures is None else figures.timeouts,
                host_losses=0 if figures is None else figures.host_losses,
                elapsed_s=self._elapsed_s(),
            ),
            dependencies=() if self._preparation is None else self._preparation.dependencies(),
            transitions=tuple(self._transitions),
            error=None if self._error is None else self._error.to_data(),
        )

    def statistics(self) -> ExecutionStatistics:
        """See `ExecutionHandle.statistics`."""
        return ExecutionStatistics(
            execution_id=self.id,
            status=self._status,
            phase=self._phase,
            elapsed_s=self._elapsed_s(),
            results=0 if self._collector is None else self._collector.results,
            scheduler=None if self._run is None else self._run.core.statistics(),
            lanes=tuple(lane.figures() for lane in self._lanes.open.values()),
        )


def _moment(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC)
