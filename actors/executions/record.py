"""The record of one execution: its state, its transitions, and its updates.

The record only reports and decides nothing. It keeps the parts that it reports on, and reads
them on request.

Invariants: `EXECUTION_TRANSITIONS` allows every transition of the status; phases only go
forward.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import CallboardError
from callboard.messages.jobs.execution import (
    ExecutionStatus,
    Progress,
    StateTransition,
    StateTransitionTrigger,
)
from callboard.messages.jobs.updates import (
    ExecutionMetrics,
    ExecutionPhase,
    ExecutionState,
    Finished,
    PartialResult,
    PhaseChanged,
    Progressed,
    StateChanged,
    SubTaskPartial,
    TaskTroubled,
)

from ..scheduler.statistics import SchedulerStatistics
from .collector import Collector
from .executors import ExecutorFigures, Executors
from .update_stream import UpdateStream

if TYPE_CHECKING:
    from ..kernel.host.host import Host
    from .history.fold import ExecutionHistory
    from .history.recorder import Recorder
    from .preparation import Preparation
    from .run import PlanRun

__all__ = ["ExecutionRecord", "ExecutionStatistics"]

PARTIALS: Final = "partials:"
"""Before the id of an execution: the channel of its sub-tasks' partial results."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExecutionStatistics:
    """The figures of one execution; `scheduler` is None until there is a plan."""

    execution_id: str
    """The id of the execution."""
    status: ExecutionStatus
    """The status now."""
    phase: ExecutionPhase
    """The phase now."""
    elapsed_s: float
    """Seconds from the start to now, or to the end."""
    results: int
    """Results that were collected."""
    scheduler: SchedulerStatistics | None
    """The figures of its plan."""
    executors: tuple[ExecutorFigures, ...]
    """The figures of each executor that it uses."""


class ExecutionRecord:
    """The state, the figures and the updates of one execution."""

    def __init__(
        self,
        host: "Host",
        *,
        execution_id: str,
        job: str,
        attributes: Mapping[str, Any],
        partial_every: int,
        wall_time: Callable[[], float],
        recorder: "Recorder | None" = None,
    ) -> None:
        self.recorder: Final = recorder
        self.id: Final = execution_id
        self.job: Final = job
        self.attributes: Final = dict(attributes)
        self.started_s: Final = host.now()
        self.started_at = wall_time()
        self.status = ExecutionStatus.PENDING
        self.phase = ExecutionPhase.VALIDATING
        self.error: CallboardError | None = None
        self.executors: Final = Executors(host)
        self.collector: Collector | None = None
        self.preparation: Preparation | None = None
        self.run: PlanRun | None = None
        self.stream: Final = UpdateStream(host.loop, host.now, self._progressed, self._partial)
        self.journals_partials = False
        """Whether the partial results of sub-tasks are in the journal."""
        self._host = host
        self._partial_every = partial_every
        self.wall_time: Final = wall_time
        self._ended_s: float | None = None
        self._ended_at: float | None = None
        self._transitions: list[StateChanged] = []

    # --- changes -------------------------------------------------------------------------

    def begin(self, history: "ExecutionHistory | None") -> None:
        """Begin at the first phase, or after what the journal has. The first of all changes."""
        if history is None:
            self._note_phase()
        else:
            self._restore(history)

    def under_way(self) -> list[tuple[str, int, str, float]]:
        """The attempts that have been sent and have not ended, in the order of their beginnings.

        For each: its sub-task, its number, its executor, and its begin in seconds since 1970.
        """
        calls = () if self.run is None else self.run.calls.values()
        ahead_s = self.wall_time() - self._host.now()
        return [
            (call.sub_task.id, call.attempt, call.executor.id, ahead_s + call.sent_s)
            for call in calls
            if not call.is_over
        ]

    def enter(self, phase: ExecutionPhase) -> None:
        """Note the begin of a phase."""
        if phase is not self.phase:
            self.phase = phase
            self._note_phase()

    def _restore(self, history: "ExecutionHistory") -> None:
        """Take over the transitions of earlier owners of the execution."""
        self.started_at = history.submitted.at
        for step in history.steps:
            change = StateChanged(
                execution_id=self.id,
                from_status=step.from_status,
                to=step.to,
                timestamp=step.at,
                trigger=StateTransitionTrigger(step.trigger),
                metadata=step.metadata,
            )
            self._transitions.append(change)
            self.stream.note(change)
        self.status = history.status

    def _note_phase(self) -> None:
        if self.recorder is not None:
            self.recorder.entered(str(self.phase))
        self.stream.note(
            PhaseChanged(execution_id=self.id, phase=self.phase, timestamp=self.wall_time())
        )

    def step(self, to: ExecutionStatus, trigger: StateTransitionTrigger, **metadata: Any) -> None:
        """Change the status. Raises `InternalError` for a transition that is not allowed."""
        step = StateTransition(self.status, to, self.wall_time(), trigger, metadata)
        change = StateChanged(
            execution_id=self.id,
            from_status=self.status,
            to=to,
            timestamp=step.timestamp,
            trigger=trigger,
            metadata=metadata,
        )
        self.status = to
        self._transitions.append(change)
        self.stream.note(change)
        if to not in {ExecutionStatus.PENDING, ExecutionStatus.RUNNING}:
            self._host.meter.observe(
                "callboard_execution_seconds", self._elapsed_s(), job=self.job, outcome=str(to)
            )

    def moved(self) -> None:
        """Note that sub-tasks have started or ended."""
        assert self.collector is not None
        self.stream.moved(self.collector.seen, self._partial_every)

    def streamed(self, task_id: str, attempt: int, number: int, value: Contract) -> None:
        """Note a partial result of a sub-task, for its readers and for clients of the hub."""
        update = SubTaskPartial(
            execution_id=self.id,
            task_id=task_id,
            attempt=attempt,
            number=number,
            contract=value.contract_name,
            value=value,
            is_journalled=self.journals_partials,
        )
        self.stream.streamed(update)
        self._host.publishing.publish(
            PARTIALS + self.id, update, source=f"execution/{self.id}", of_system=True
        )

    def troubled(self, task_id: str, attempt: int, error: CallboardError) -> None:
        """Note a failed attempt; attempt 0 means that the sub-task failed for good."""
        self.stream.note(
            TaskTroubled(
                execution_id=self.id,
                task_id=task_id,
                attempt=attempt,
                code=error.code,
                message=error.message,
                retried=attempt > 0,
            )
        )

    def finish(self, result: Any, error: CallboardError | None) -> None:
        """Note the end of the execution."""
        self._ended_s, self._ended_at = self._host.now(), self.wall_time()
        self.error = error
        self.enter(ExecutionPhase.ENDED)
        self.stream.finish(
            Finished(
                execution_id=self.id,
                status=self.status,
                elapsed_s=self._elapsed_s(),
                result=result,
                error=None if error is None else error.to_data(),
            )
        )

    # --- state ---------------------------------------------------------------------------

    @property
    def results(self) -> int:
        """The number of collected results."""
        return 0 if self.collector is None else self.collector.results

    def _elapsed_s(self) -> float:
        return (self._host.now() if self._ended_s is None else self._ended_s) - self.started_s

    def _progressed(self) -> Progressed:
        counts = Progress() if self.run is None else self.run.core.progress()
        return Progressed(
            execution_id=self.id,
            total=counts.total,
            fraction=counts.fraction,
            retries=0 if self.run is None else self.run.core.statistics().retries,
            elapsed_s=self._elapsed_s(),
            **dataclasses.asdict(counts),
        )

    def _partial(self) -> PartialResult | None:
        if self.collector is None or self.run is None or self.run.ended.done():
            return None
        try:
            value = self.collector.partial()
        except Exception:  # noqa: BLE001 - a later reduction may succeed; the last one raises
            return None
        return PartialResult(execution_id=self.id, value=value, results=self.results)

    def state(self) -> ExecutionState:
        """See `ExecutionHandle.state`."""
        figures = None if self.run is None else self.run.core.statistics()
        progress = Progress() if figures is None else figures.progress
        return ExecutionState(
            execution_id=self.id,
            agent_id=self._host.name,
            job=self.job,
            status=self.status,
            current_phase=self.phase,
            start_time=_moment(self.started_at),
            end_time=None if self._ended_at is None else _moment(self._ended_at),
            context=self.attributes,
            intermediate_results=self.results,
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
            dependencies=() if self.preparation is None else self.preparation.dependencies(),
            transitions=tuple(self._transitions),
            error=None if self.error is None else self.error.to_data(),
        )

    def statistics(self) -> ExecutionStatistics:
        """See `ExecutionHandle.statistics`."""
        return ExecutionStatistics(
            execution_id=self.id,
            status=self.status,
            phase=self.phase,
            elapsed_s=self._elapsed_s(),
            results=self.results,
            scheduler=None if self.run is None else self.run.core.statistics(),
            executors=tuple(executor.figures() for executor in self.executors.open.values()),
        )


def _moment(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC)
