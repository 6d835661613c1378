"""The statistics of a scheduler's core: frozen values for views and tests."""

from dataclasses import dataclass

from callboard.messages.jobs.execution import ExecutionStatus, Progress

__all__ = ["ExecutorStatistics", "SchedulerStatistics", "UnservedKind"]


@dataclass(frozen=True, slots=True)
class ExecutorStatistics:
    """One executor: its credit and its attempts."""

    executor: str
    credit: int
    occupied: int
    parked: int


@dataclass(frozen=True, slots=True)
class UnservedKind:
    """A kind of agent with ready sub-tasks that no executor offers."""

    kind: str
    ready: int
    since: float


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """The state and the counters of one execution."""

    status: ExecutionStatus
    progress: Progress
    attempts_started: int
    attempts_running: int
    attempts_cancelling: int
    retries: int
    timeouts: int
    host_losses: int
    stale_reports: int
    """Reports of attempts that no longer run; they changed nothing."""
    cancels_unanswered: int
    """Cancelled attempts that lost their slot because they did not answer in time."""
    deadlines: int
    executors: tuple[ExecutorStatistics, ...]
    unserved: tuple[UnservedKind, ...]
