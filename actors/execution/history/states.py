"""What an execution's events say of its state: the record that is stored, cached and told of.

The same comes out of a history (`of_history`) and of the events one after the other (`advanced`),
so a state that was stored is brought forward by what has happened since. Events that it shows
already change nothing.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack

from callboard.messages.codec import Codec
from callboard.messages.contract import ContractRegistry, describe_contract
from callboard.messages.errors import DeadlineExceeded
from callboard.messages.events import RecordedEvent
from callboard.messages.execution import (
    EXECUTION_TRANSITIONS,
    Decision,
    ExecutionStatus,
    StateTransitionTrigger,
    TaskStatus,
)
from callboard.messages.state import AgentExecutionState
from callboard.messages.updates import ExecutionMetrics, ExecutionPhase, StateChanged

from .events import Kind, Moved, unpack
from .fold import ExecutionHistory
from .recorder import GivenAttributes

__all__ = ["KINDS", "advanced", "is_of_history", "of_history"]

KINDS: Final = tuple(map(str, sorted(set(Kind) - {Kind.PLANNED, Kind.BEGAN})))
"""The kinds of events that a state is made of."""

FAILED: Final = 2
DOUBTFUL: Final = 4

NONE: Final = ExecutionMetrics(
    sub_tasks=0, done=0, failed=0, attempts=0, retries=0, timeouts=0, host_losses=0, running=0,
    elapsed_s=0.0,
)  # fmt: skip


def is_of_history(state: AgentExecutionState | None, event: RecordedEvent) -> bool:
    """Whether the state after this event needs all of the history, not the state before it.

    A fork begins with what its origin has done, and who resumes before the plan was whole makes
    it anew.
    """
    if event.kind == Kind.RESUMED:
        return state is None or state.status is ExecutionStatus.PENDING
    return event.kind == Kind.FORKED


def of_history(history: ExecutionHistory) -> AgentExecutionState:
    """The state that a history tells."""
    codes = [ended[5] for ended in history.ended if ended[5]]
    troubles = [how for what, how in history.order if what == "troubled"]
    state = _begun(history.submitted)
    return state.model_copy(
        update={
            "agent_id": history.owners[-1][0],
            "status": history.status,
            "current_phase": _phase(history.phases[-1][0] if history.phases else None),
            "metrics": ExecutionMetrics(
                sub_tasks=len(history.ids),
                done=history.statuses.count(TaskStatus.DONE),
                failed=history.statuses.count(TaskStatus.FAILED),
                attempts=len(history.ended),
                retries=len(troubles),
                timeouts=codes.count(DeadlineExceeded.code),
                host_losses=sum(is_loss for _, _, is_loss in troubles),
                running=0,
                elapsed_s=_elapsed_s(state, history.at),
            ),
            "transitions": tuple(_change(history.id, *step) for step in history.steps),
            **_end([step._asdict() for step in history.steps]),
            "journal_version": history.version,
        }
    )


def advanced(
    state: AgentExecutionState | None, events: Sequence[RecordedEvent]
) -> AgentExecutionState | None:
    """The state after these events of one execution; None when its beginning is not among them.

    Raises `StoreDamaged` for what does not decode, and `KeyError` or the like for other layouts.
    """
    counts = dict((NONE if state is None or state.metrics is None else state.metrics).__dict__)
    changes: dict[str, Any] = {}
    for event in events:
        if state is not None and event.version <= state.journal_version:
            continue
        if event.kind == Kind.SUBMITTED:
            state = _begun(unpack(event.kind, event.data))
        elif state is None:
            return None
        else:
            _take(state, changes, counts, event)
        changes["journal_version"] = event.version
        counts["elapsed_s"] = _elapsed_s(state, event.recorded_at)
    if state is None or not changes:
        return state
    return state.model_copy(update={**changes, "metrics": ExecutionMetrics(**counts)})


def _take(
    state: AgentExecutionState,
    changes: dict[str, Any],
    counts: dict[str, Any],
    event: RecordedEvent,
) -> None:
    fields = unpack(event.kind, event.data)
    match event.kind:
        case Kind.ENTERED:
            changes["current_phase"] = _phase(fields["phases"][-1][0])
        case Kind.RESUMED:
            changes["agent_id"] = fields["by"]
        case Kind.GROWN:
            counts["sub_tasks"] += len(fields["rows"])
        case Kind.MOVED:
            _count(counts, Moved(**fields))
        case Kind.LOST:
            counts["done"] -= len(fields["rows"])
            counts["retries"] += len(fields["rows"])
            counts["host_losses"] += len(fields["rows"])
        case Kind.DECIDED:
            counts["failed"] += fields["decision"] != Decision.RUN_AGAIN
        case Kind.STEPPED:
            step = (fields["from"], fields["to"], fields["at"], fields["trigger"])
            change = _change(state.execution_id, *step, fields["metadata"])
            before = changes.get("transitions", state.transitions)
            changes |= {"status": change.to, "transitions": (*before, change), **_end([fields])}
        case _:
            pass  # It says nothing of the state.


def _count(counts: dict[str, Any], moved: Moved) -> None:
    counts["done"] += len(moved.done)
    counts["failed"] += len(moved.failed)
    # A longer row of what failed, or is in doubt, is that of an attempt whose end is known.
    codes = [row[1]["code"] for row in moved.failed if len(row) > FAILED]
    codes += [row[2] for row in moved.doubtful if len(row) > DOUBTFUL]
    counts["attempts"] += len(moved.done) + len(moved.troubled) + len(codes)
    counts["retries"] += len(moved.troubled)
    counts["timeouts"] += codes.count(DeadlineExceeded.code)
    for _, _, _, _, _, code, _, is_loss in moved.troubled:
        counts["timeouts"] += code == DeadlineExceeded.code
        counts["host_losses"] += bool(is_loss)


def _begun(fields: Mapping[str, Any]) -> AgentExecutionState:
    return AgentExecutionState(
        execution_id=fields["id"],
        agent_id=fields["by"],
        task_id=fields["job"],
        start_time=_moment(fields["at"]),
        context=_context(*fields["attributes"]),
        metrics=NONE,
    )


def _context(body: bytes, buffers: Sequence[bytes]) -> dict[str, Any]:
    """What the caller gave along; nothing of it when some cannot be told without its code."""
    try:
        build = describe_contract(GivenAttributes).build
        given = Codec(ContractRegistry()).decode(body, build, tuple(buffers))
        assert isinstance(given, GivenAttributes)
        msgpack.packb(given.values)
    except Exception:  # noqa: BLE001 - contracts of the user's, arrays, whatever it was
        return {}
    return given.values


def _change(
    execution_id: str, before: str, to: str, at: float, trigger: str, metadata: dict[str, Any]
) -> StateChanged:
    return StateChanged(
        execution_id=execution_id,
        from_status=ExecutionStatus(before),
        to=ExecutionStatus(to),
        timestamp=at,
        trigger=StateTransitionTrigger(trigger),
        metadata=metadata,
    )


def _end(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the last step says of the end, if it is one."""
    if not steps or EXECUTION_TRANSITIONS[ExecutionStatus(steps[-1]["to"])]:
        return {}
    return {"end_time": _moment(steps[-1]["at"]), "error": steps[-1]["metadata"].get("error")}


def _phase(name: str | None) -> ExecutionPhase:
    return ExecutionPhase.VALIDATING if name is None else ExecutionPhase(name)


def _elapsed_s(state: AgentExecutionState, at: float) -> float:
    return max(0.0, at - state.start_time.timestamp())


def _moment(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC)
