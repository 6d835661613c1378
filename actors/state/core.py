"""The checks of states and transitions, and the pending notifications of changes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from callboard.messages.jobs.execution import (
    EXECUTION_TRANSITIONS,
    RESERVED,
    ExecutionStatus,
    StateTransitionTrigger,
    check_execution_id,
)
from callboard.messages.jobs.updates import StateChanged
from callboard.messages.storage.errors import StoreFull, TransitionRefused
from callboard.messages.storage.states import AgentExecutionState, AgentStateChanged

__all__ = [
    "PENDING_NOTIFICATIONS_MAX",
    "PendingNotifications",
    "check_history",
    "check_id",
    "step",
]

PENDING_NOTIFICATIONS_MAX: Final = 10_000
"""The most executions with a pending notification; with more, no state is stored."""


def check_id(execution_id: str) -> None:
    """Raises `UsageError` for an id that is reserved; other ids may be of an earlier release."""
    if execution_id.startswith(RESERVED):
        check_execution_id(execution_id)


def _check_step(execution_id: str, before: ExecutionStatus, to: ExecutionStatus) -> None:
    allowed = sorted(EXECUTION_TRANSITIONS[before])
    if to not in allowed:
        raise TransitionRefused(
            f"execution {execution_id}: no transition leads from {before} to {to}; "
            f"allowed from {before}: {', '.join(allowed) or 'none, it has ended'}.",
            advice="Read its state again: another process may have changed it.",
            from_status=str(before),
            to=str(to),
            allowed=[str(status) for status in allowed],
        )


def check_history(state: AgentExecutionState) -> None:
    """Raises `TransitionRefused` when the transitions do not lead from pending to the status."""
    status = ExecutionStatus.PENDING
    for change in state.transitions:
        if change.from_status is not status:
            _refuse_gap(state.execution_id, status, change.from_status)
        _check_step(state.execution_id, status, change.to)
        status = change.to
    if status is not state.status:
        _refuse_gap(state.execution_id, status, state.status)


def _refuse_gap(execution_id: str, before: ExecutionStatus, to: ExecutionStatus) -> None:
    _check_step(execution_id, before, to)
    raise TransitionRefused(
        f"execution {execution_id}: its transitions lack the one from {before} to {to}.",
        advice="Change the status with `transition`, which records it.",
        from_status=str(before),
        to=str(to),
    )


def step(
    state: AgentExecutionState,
    to: ExecutionStatus,
    trigger: StateTransitionTrigger,
    metadata: Mapping[str, Any],
    timestamp: float,
) -> AgentExecutionState:
    """The state after one transition, which it records. Raises `TransitionRefused`."""
    _check_step(state.execution_id, state.status, to)
    change = StateChanged(
        execution_id=state.execution_id,
        from_status=state.status,
        to=to,
        timestamp=timestamp,
        trigger=trigger,
        metadata=dict(metadata),
    )
    return state.model_copy(update={"status": to, "transitions": (*state.transitions, change)})


class PendingNotifications:
    """Changes that are stored, or about to be, and not published: the newest of each execution."""

    def __init__(self) -> None:
        self._changes: dict[str, AgentStateChanged] = {}

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, changes: Iterable[AgentStateChanged]) -> None:
        """Add changes; of each execution, keep only the newest."""
        for change in changes:
            before = self._changes.pop(change.execution_id, None)
            is_newer = before is None or before.version <= change.version
            self._changes[change.execution_id] = change if is_newer or before is None else before

    def with_these(self, changes: Sequence[AgentStateChanged]) -> list[AgentStateChanged]:
        """All pending changes together with these; adds nothing."""
        both = PendingNotifications()
        both.add(self._changes.values())
        both.add(changes)
        return both.all()

    def all(self) -> list[AgentStateChanged]:
        """All pending changes, the oldest first."""
        return list(self._changes.values())

    def remove(self, changes: Iterable[AgentStateChanged]) -> None:
        """Remove published changes; a newer change of the same execution stays."""
        for change in changes:
            if self._changes.get(change.execution_id) is change:
                del self._changes[change.execution_id]

    def check_room(self) -> None:
        """Raises `StoreFull` when too many notifications are pending."""
        if len(self._changes) >= PENDING_NOTIFICATIONS_MAX:
            raise StoreFull(
                f"the changes of {len(self._changes)} executions could not be published.",
                advice="Repair the publisher; no stored state is lost.",
            )
