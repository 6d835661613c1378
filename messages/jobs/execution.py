"""Where an execution and its sub-tasks stand: states, the steps between them, and counts.

The tables are the whole truth about which step is allowed; `StateTransition` refuses any
other, so an impossible history cannot be journalled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Any, Final

from ..core.errors import InternalError

__all__ = [
    "EXECUTION_TRANSITIONS",
    "TASK_TRANSITIONS",
    "Decision",
    "ExecutionStatus",
    "OnFailure",
    "Progress",
    "StateTransition",
    "StateTransitionTrigger",
    "TaskStatus",
]


class ExecutionStatus(StrEnum):
    """Where an execution stands."""

    PENDING = auto()
    RUNNING = auto()
    COMPLETED = auto()
    FAILED = auto()
    CANCELLED = auto()


class OnFailure(StrEnum):
    """What becomes of the rest when a required sub-task fails for good."""

    FAIL_FAST = auto()
    """The rest is cancelled at once."""
    FINISH_REST = auto()
    """What does not need the failed one still runs; then the execution fails."""


class Decision(StrEnum):
    """What becomes of a non-idempotent sub-task of which an attempt may have run."""

    ASK = auto()
    """A person decides: `callboard approve`, or `ExecutionHandle.decide`."""
    RUN_AGAIN = auto()
    FAIL = auto()


class TaskStatus(StrEnum):
    """Where a sub-task stands."""

    WAITING = auto()
    """Something it needs has not ended."""
    READY = auto()
    RUNNING = auto()
    BACKING_OFF = auto()
    """Between a failed attempt and the next."""
    IN_DOUBT = auto()
    """Non-idempotent, and an attempt of it may have run: a policy or a person decides."""
    DONE = auto()
    FAILED = auto()
    CANCELLED = auto()
    SKIPPED = auto()
    """Something it needs, and that is not optional, ended without a result."""


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
                    ExecutionStatus.CANCELLED,  # somebody asked for it
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
                TaskStatus.RUNNING,  # dispatched to a lane
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
    """Why a state changed."""

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
    """A part of the job's way (validation, merge, delivery, ...) refused or raised."""


@dataclass(frozen=True, slots=True)
class StateTransition:
    """One step of an execution or a sub-task, as it is journalled and streamed.

    Raises:
        InternalError: the table of transitions does not allow the step.
    """

    from_status: ExecutionStatus | TaskStatus
    to: ExecutionStatus | TaskStatus
    timestamp: float
    trigger: StateTransitionTrigger
    metadata: Mapping[str, Any] = field(default_factory=dict)  # plain values for a reader

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
                f"No step leads from {self.from_status!r} to {self.to!r} ({self.trigger})."
            )


@dataclass(frozen=True, slots=True)
class Progress:
    """How many sub-tasks of an execution stand where."""

    waiting: int = 0
    ready: int = 0
    running: int = 0
    backing_off: int = 0
    in_doubt: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0

    @property
    def ended(self) -> int:
        """How many have reached a state that they never leave."""
        return self.done + self.failed + self.cancelled + self.skipped

    @property
    def total(self) -> int:
        """All that are known so far; a plan may grow."""
        open_ones = self.waiting + self.ready + self.running + self.backing_off + self.in_doubt
        return self.ended + open_ones

    @property
    def fraction(self) -> float:
        """The ended share of all, within 0 and 1; an empty plan is complete."""
        return self.ended / self.total if self.total else 1.0
