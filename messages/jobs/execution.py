"""The states of an execution and of its sub-tasks, the transitions between them, and counts.

The tables list all transitions that are allowed. `StateTransition` refuses any other, so an
impossible history cannot be journalled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Any, Final

from ..core.errors import InternalError, UsageError
from ..core.names import check_name

__all__ = [
    "EXECUTION_TRANSITIONS",
    "RESERVED",
    "TASK_TRANSITIONS",
    "Decision",
    "ExecutionStatus",
    "OnFailure",
    "Progress",
    "StateTransition",
    "StateTransitionTrigger",
    "TaskStatus",
    "check_execution_id",
]

RESERVED: Final = ":"
"""The first character of other rows in the table of states: no execution id may have it."""


def check_execution_id(execution_id: object) -> str:
    """Check an execution id that a caller chose, and return it. Raises `UsageError`."""
    found = check_name("the execution id", execution_id, error=UsageError)
    if found.startswith(RESERVED):
        raise UsageError(
            f"the execution id {found!r} begins with {RESERVED!r}, which is reserved.",
            advice="Choose another id.",
        )
    return found


class ExecutionStatus(StrEnum):
    """The status of an execution."""

    PENDING = auto()
    RUNNING = auto()
    COMPLETED = auto()
    FAILED = auto()
    CANCELLED = auto()


class OnFailure(StrEnum):
    """What happens to the other sub-tasks when a required sub-task fails for good."""

    FAIL_FAST = auto()
    """All others are cancelled at once."""
    FINISH_REST = auto()
    """Sub-tasks that do not need the failed one still run; then the execution fails."""


class Decision(StrEnum):
    """What happens to a non-idempotent sub-task when an attempt of it may have run."""

    ASK = auto()
    """The sub-task stays in doubt until a person decides: see `callboard approve` and
    `ExecutionHandle.decide`."""
    RUN_AGAIN = auto()
    """The sub-task runs again."""
    FAIL = auto()
    """The sub-task fails."""


class TaskStatus(StrEnum):
    """The status of a sub-task."""

    WAITING = auto()
    """A sub-task that it needs has not ended."""
    READY = auto()
    RUNNING = auto()
    BACKING_OFF = auto()
    """Between a failed attempt and the next one."""
    IN_DOUBT = auto()
    """It is non-idempotent, and an attempt of it may have run: a policy or a person decides."""
    DONE = auto()
    FAILED = auto()
    CANCELLED = auto()
    SKIPPED = auto()
    """A sub-task that it needs, and that is not optional, ended without a result."""


EXECUTION_TRANSITIONS: Final[Mapping[ExecutionStatus, frozenset[ExecutionStatus]]] = (
    MappingProxyType(
        {
            ExecutionStatus.PENDING: frozenset(
                {
                    ExecutionStatus.RUNNING,  # its plan was accepted
                    ExecutionStatus.FAILED,  # validation or decomposition refused it
                    ExecutionStatus.CANCELLED,  # before anything ran
                }
            ),
            ExecutionStatus.RUNNING: frozenset(
                {
                    ExecutionStatus.COMPLETED,  # every required sub-task is done
                    ExecutionStatus.FAILED,  # a required sub-task failed for good
                    ExecutionStatus.CANCELLED,  # a caller asked for it
                }
            ),
            ExecutionStatus.COMPLETED: frozenset(),
            ExecutionStatus.FAILED: frozenset(),
            ExecutionStatus.CANCELLED: frozenset(),
        }
    )
)

TASK_TRANSITIONS: Final[Mapping[TaskStatus, frozenset[TaskStatus]]] = MappingProxyType(
    {
        TaskStatus.WAITING: frozenset(
            {
                TaskStatus.READY,  # the last of its needs ended well, or was optional
                TaskStatus.SKIPPED,  # a required need ended without a result
                TaskStatus.CANCELLED,
            }
        ),
        TaskStatus.READY: frozenset(
            {
                TaskStatus.RUNNING,  # dispatched to an executor
                TaskStatus.FAILED,  # no agent offers its kind
                TaskStatus.CANCELLED,
            }
        ),
        TaskStatus.RUNNING: frozenset(
            {
                TaskStatus.DONE,
                TaskStatus.BACKING_OFF,  # failed, and will be tried again
                TaskStatus.READY,  # its host was lost, or the back-off is zero
                TaskStatus.IN_DOUBT,  # it must not run twice, and may have run
                TaskStatus.FAILED,  # for good
                TaskStatus.CANCELLED,
            }
        ),
        TaskStatus.BACKING_OFF: frozenset({TaskStatus.READY, TaskStatus.CANCELLED}),
        TaskStatus.IN_DOUBT: frozenset(
            {
                TaskStatus.READY,  # it was decided to run it again
                TaskStatus.FAILED,  # it was decided not to
                TaskStatus.CANCELLED,
            }
        ),
        TaskStatus.DONE: frozenset(),
        TaskStatus.FAILED: frozenset(),
        TaskStatus.CANCELLED: frozenset(),
        TaskStatus.SKIPPED: frozenset(),
    }
)


class StateTransitionTrigger(StrEnum):
    """The cause of a transition."""

    SUBMITTED = auto()
    NEEDS_MET = auto()
    DISPATCHED = auto()
    SUCCEEDED = auto()
    ATTEMPT_FAILED = auto()
    TIMED_OUT = auto()
    RETRY_DUE = auto()
    HOST_LOST = auto()
    CANCEL_REQUESTED = auto()
    NEED_UNMET = auto()
    UNSERVABLE = auto()
    PART_FAILED = auto()
    """A part of the job (validation, merge, delivery, ...) refused or raised."""


@dataclass(frozen=True, slots=True)
class StateTransition:
    """One transition of an execution or a sub-task, as it is journalled and streamed.

    Raises:
        InternalError: the table does not allow the transition.
    """

    from_status: ExecutionStatus | TaskStatus
    """The status before."""
    to: ExecutionStatus | TaskStatus
    """The status after."""
    timestamp: float
    """Seconds since 1970."""
    trigger: StateTransitionTrigger
    """What caused it."""
    metadata: Mapping[str, Any] = field(default_factory=dict)  # plain values for a reader
    """Further plain values, for a reader."""

    def __post_init__(self) -> None:
        allowed: frozenset[ExecutionStatus] | frozenset[TaskStatus]
        match self.from_status:
            case ExecutionStatus():
                allowed = EXECUTION_TRANSITIONS[self.from_status]
            case TaskStatus():
                allowed = TASK_TRANSITIONS[self.from_status]
        # `in` alone would let the text "running" of the other vocabulary pass.
        if type(self.to) is not type(self.from_status) or self.to not in allowed:
            raise InternalError(
                f"No transition leads from {self.from_status!r} to {self.to!r} ({self.trigger})."
            )


@dataclass(frozen=True, slots=True)
class Progress:
    """The number of an execution's sub-tasks in each status."""

    waiting: int = 0
    """Sub-tasks that wait for others."""
    ready: int = 0
    """Sub-tasks that could run and wait for an agent."""
    running: int = 0
    """Sub-tasks that run on an agent."""
    backing_off: int = 0
    """Sub-tasks that wait for their next attempt."""
    in_doubt: int = 0
    """Sub-tasks that wait for a decision, because an attempt may have run."""
    done: int = 0
    """Sub-tasks with a result."""
    failed: int = 0
    """Sub-tasks that have failed for good."""
    cancelled: int = 0
    """Sub-tasks that were cancelled."""
    skipped: int = 0
    """Sub-tasks that cannot run, because one that they need has no result."""

    @property
    def ended(self) -> int:
        """How many have ended: done, failed, cancelled or skipped."""
        return self.done + self.failed + self.cancelled + self.skipped

    @property
    def total(self) -> int:
        """All sub-tasks so far; a plan may grow."""
        open_ones = self.waiting + self.ready + self.running + self.backing_off + self.in_doubt
        return self.ended + open_ones

    @property
    def fraction(self) -> float:
        """The share of sub-tasks that have ended, from 0 to 1; 1 for an empty plan."""
        return self.ended / self.total if self.total else 1.0
