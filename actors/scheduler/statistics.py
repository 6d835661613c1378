"""What a scheduler's core says about itself: a frozen value for boards and tests."""

from dataclasses import dataclass

from callboard.messages.jobs.execution import ExecutionStatus, Progress

__all__ = ["ExecutorStatistics", "SchedulerStatistics", "UnservedKind"]


@dataclass(frozen=True, slots=True)
class ExecutorStatistics:
    """One executor: what it may hold and what it holds."""

    executor: str
    credit: int
    occupied: int
    parked: int


@dataclass(frozen=True, slots=True)
class UnservedKind:
    """A kind of agent with ready work that no executor offers, and since when."""

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
    """Reports of attempts that nobody waited for any more; they changed nothing."""
    cancels_unanswered: int
    """Cancelled attempts that did not answer within the grace, so their slot was freed."""
    deadlines: int
    executors: tuple[ExecutorStatistics, ...]
    unserved: tuple[UnservedKind, ...]
