"""One execution: a submitted request on its whole way, from validation to delivery.

The way is in `_way`, top to bottom. Each part of the job is called in its phase; the long
one in the middle, running the plan, belongs to `PlanRun`.

Invariants: `outcome` is set exactly once, and `Finished` is told before; whatever a part
of the job raises comes out as the outcome and nowhere else.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from callboard.messages.contract import Contract
from callboard.messages.errors import (
    CallboardError,
    Cancelled,
    DeadlineExceeded,
    RequestRejected,
    ResultRejected,
    UsageError,
)
from callboard.messages.execution import ExecutionStatus, StateTransitionTrigger
from callboard.messages.job import Decompose, Job, JobContext, Route
from callboard.messages.plan import Plan
from callboard.messages.updates import ExecutionPhase

from .collector import Collector
from .handle import ExecutionHandle
from .parts import check_all, part_failed, sub_task_failed
from .preparation import Preparation, gather_sub_tasks
from .record import ExecutionRecord
from .run import PlanRun

if TYPE_CHECKING:
    from ..host.host import Host

__all__ = ["Execution"]

RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")

NO_DEADLINE_S: Final = 30 * 24 * 3600.0
"""An ask has a deadline; that of an execution without one is beyond what anybody waits for."""


class Execution(Generic[ResultT]):
    """One submitted request; see `start`."""

    def __init__(
        self,
        host: "Host",
        job: Job[Any, ResultT],
        request: Contract,
        record: ExecutionRecord,
        random: Callable[[], float],
    ) -> None:
        self.record: Final = record
        self.outcome: Final[asyncio.Future[ResultT]] = host.loop.create_future()
        self._host = host
        self._job = job
        self._request: Any = request
        self._random = random
        self._run: PlanRun | None = None
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stopped_by: CallboardError | None = None
        """Why it is being stopped from outside."""

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
        record = ExecutionRecord(
            host,
            execution_id=new_id(),
            job=job.name,
            attributes=attributes or {},
            partial_every=job.partial_every,
            wall_time=wall_time,
        )
        execution: Execution[ResultT] = Execution(host, job, request, record, random)
        execution._begin()
        return ExecutionHandle(execution)

    def _begin(self) -> None:
        if self._job.timeout_s is not None:
            at_s = self.record.started_s + self._job.timeout_s
            self._deadline = self._host.loop.call_at(at_s, self._time_is_over)
        self._task = self._host.start_task(self._walk())
        # Whoever cancels it before its first step (a host that closes) must not leave the
        # caller waiting: the coroutine has not begun then, and cannot say so itself.
        self._task.add_done_callback(self._walked)

    # --- the way -------------------------------------------------------------------------

    async def _walk(self) -> None:
        try:
            self._end(await self._way())
        except asyncio.CancelledError:
            self._fail(self._stopped_by or self._cancelled())
        except Exception as error:  # noqa: BLE001 - the parts of a job may raise anything
            failed = part_failed(self._job.name, self.record.phase, error)
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
        self.record.enter(phase.MERGING)
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
        self.record.enter(phase)
        if phase in self._job.threads:
            return await self._host.dispatcher.in_thread(part, *given)
        return part(*given)

    def _context(self) -> JobContext:
        record = self.record
        return JobContext(
            execution_id=record.id,
            job=record.job,
            attributes=record.attributes,
            started_at=record.started_at,
            offers=record.lanes.is_offered,
        )

    def _made_by(self, plan_maker: Decompose[Any], request: Any) -> Any:
        made = plan_maker(request)
        if ExecutionPhase.DECOMPOSING in self._job.threads and not isinstance(made, Plan):
            return tuple(made)  # A generator has done nothing so far: it works here.
        return made

    async def _run_plan(self, made: Any, route: Route) -> Collector:
        job, record = self._job, self.record
        collector = Collector(job)
        preparation = Preparation(self._host, job, route, record.lanes, collector)
        core = await preparation.core(made)
        record.enter(ExecutionPhase.RUNNING)
        run = PlanRun(
            host=self._host,
            core=core,
            lanes=record.lanes,
            collector=collector,
            expand=None if job.expand is None else preparation.expand,
            deadline_s=record.started_s + (job.timeout_s or NO_DEADLINE_S),
            unserved_grace_s=job.unserved_grace_s,
            random=self._random,
            on_turn=record.moved,
            on_trouble=record.troubled,
        )
        record.collector, record.preparation = collector, preparation
        self._run = record.run = run
        record.step(ExecutionStatus.RUNNING, StateTransitionTrigger.SUBMITTED)
        try:
            run.start()
            how = await run.ended
        except asyncio.CancelledError:
            run.break_off(self._stopped_by or self._cancelled())
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

    def cancel(self) -> bool:
        """See `ExecutionHandle.cancel`."""
        return self._stop(self._cancelled())

    def cancel_task(self, task_id: str) -> bool:
        """See `ExecutionHandle.cancel_task`."""
        if self._run is None or self._run.ended.done():
            raise UsageError(
                f"execution {self.record.id} is {self.record.phase}: "
                "no sub-task of it can be cancelled.",
                advice="Cancel the execution, or wait until it is running.",
            )
        return self._run.cancel_task(task_id)

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"execution {self.record.id} of job {self._job.name!r} was cancelled.")

    def _time_is_over(self) -> None:
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
        self.record.step(ExecutionStatus.COMPLETED, StateTransitionTrigger.SUCCEEDED)
        self._finish(result, None)
        self.outcome.set_result(result)

    def _fail(self, error: CallboardError) -> None:
        phase = self.record.phase
        status, trigger = ExecutionStatus.FAILED, StateTransitionTrigger.PART_FAILED
        if isinstance(error, Cancelled):
            status, trigger = ExecutionStatus.CANCELLED, StateTransitionTrigger.CANCEL_REQUESTED
        elif error is self._stopped_by:
            trigger = StateTransitionTrigger.TIMED_OUT
        elif phase is ExecutionPhase.RUNNING:
            trigger = StateTransitionTrigger.ATTEMPT_FAILED
        self.record.step(status, trigger, code=error.code, phase=str(phase))
        self._finish(None, error)
        self.outcome.set_exception(error)
        # Whoever asks for the result gets it; nobody has to.
        self.outcome.exception()

    def _finish(self, result: Any, error: CallboardError | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self.record.finish(result, error)

    def _walked(self, _task: "asyncio.Task[None]") -> None:
        if not self.outcome.done():
            self._fail(self._stopped_by or self._cancelled())
