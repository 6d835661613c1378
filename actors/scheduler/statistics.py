"""The statistics of a scheduler's core: frozen values for views and tests."""

from dataclasses import dataclass

from callboard.messages.jobs.execution import ExecutionStatus, Progress

__all__ = ["ExecutorStatistics", "SchedulerStatistics", "UnservedKind"]


@dataclass(frozen=True, slots=True)
class ExecutorStatistics:
    """One executor: its credit and its attempts."""

    executor: str
    """Its address: slot and cell."""
    credit: int
    """Attempts that it may have at once."""
    occupied: int
    """Attempts that it has now."""
    parked: int
    """Ready sub-tasks that only this executor may run, and that wait for its credit."""


@dataclass(frozen=True, slots=True)
class UnservedKind:
    """A kind of agent with ready sub-tasks that no executor offers."""

    kind: str
    """The contract, or the pool that the route names."""
    ready: int
    """Sub-tasks that wait for such an agent."""
    since: float
    """Since when, on the clock of the execution's host, in seconds."""


@dataclass(frozen=True, slots=True)
class SchedulerStatistics:
    """The state and the counters of one execution."""

    status: ExecutionStatus
    """The status of the execution."""
    progress: Progress
    """The number of sub-tasks in each status."""
    attempts_started: int
    """Attempts that were sent to an executor."""
    attempts_running: int
    """Attempts that have no outcome yet."""
    attempts_cancelling: int
    """Attempts that were asked to stop and have not answered."""
    retries: int
    """Attempts after a first one."""
    timeouts: int
    """Attempts that took longer than their limit."""
    host_losses: int
    """Attempts that were lost with their host."""
    stale_reports: int
    """Reports of attempts that no longer run; they changed nothing."""
    cancels_unanswered: int
    """Cancelled attempts that lost their slot because they did not answer in time."""
    deadlines: int
    """Time limits, back-offs and grace periods that are watched now."""
    executors: tuple[ExecutorStatistics, ...]
    """Each executor."""
    unserved: tuple[UnservedKind, ...]
    """Kinds of sub-tasks that no executor offers."""
