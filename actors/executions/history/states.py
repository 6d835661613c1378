"""The state of an execution from its events: the record that is stored, cached and published.

A history (`of_history`) and the events one after another (`advanced`) give the same state, so
later events update a stored state. Events that it shows already change nothing.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import ContractRegistry, describe_contract
from callboard.messages.core.errors import DeadlineExceeded
from callboard.messages.jobs.execution import (
    EXECUTION_TRANSITIONS,
    Decision,
    ExecutionStatus,
    StateTransitionTrigger,
    TaskStatus,
)
from callboard.messages.jobs.updates import ExecutionMetrics, ExecutionPhase, StateChanged
from callboard.messages.storage.events import RecordedEvent
from callboard.messages.storage.states import AgentExecutionState

from .events import (
    Decided,
    Entered,
    Event,
    Grown,
    Kind,
    Lost,
    Moved,
    Resumed,
    Stepped,
    Submitted,
    read,
)
from .fold import ExecutionHistory, HistoryStep
from .recorder import GivenAttributes

__all__ = ["KINDS", "advanced", "is_of_history", "of_history"]

KINDS: Final = tuple(map(str, sorted(set(Kind) - {Kind.PLANNED, Kind.BEGAN})))
"""The kinds of events that change a state."""

NONE: Final = ExecutionMetrics(
    sub_tasks=0, done=0, failed=0, attempts=0, retries=0, timeouts=0, host_losses=0, running=0,
    elapsed_s=0.0,
)  # fmt: skip


def is_of_history(state: AgentExecutionState | None, event: RecordedEvent) -> bool:
    """Whether the state after this event needs the whole history, not only the state before.

    A fork begins with the history of its origin, and a resume before the plan is complete makes
    the plan again.
    """
    if event.kind == Kind.RESUMED:
        return state is None or state.status is ExecutionStatus.PENDING
    return event.kind == Kind.FORKED


def of_history(history: ExecutionHistory) -> AgentExecutionState:
    """The state at the end of a history."""
    codes = [code for *_, code, _ in history.ended if code]
    troubles = [how for what, how in history.order if what == "troubled"]
    state = _begun(history.submitted)
    return state.model_copy(
        update={
            "agent_id": history.owners[-1].name,
            "status": history.status,
            "current_phase": _phase(history.phases[-1].name if history.phases else None),
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
            **_end(history.steps[-1] if history.steps else None),
            "journal_version": history.version,
        }
    )


def advanced(
    state: AgentExecutionState | None, events: Sequence[RecordedEvent]
) -> AgentExecutionState | None:
    """The state after these events of one execution; None when its first event is missing.

    Raises `StoreDamaged` for bytes that do not decode, and `KeyError` or the like for other
    layouts.
    """
    counts = dict((NONE if state is None or state.metrics is None else state.metrics).__dict__)
    changes: dict[str, Any] = {}
    for event in events:
        if state is not None and event.version <= state.journal_version:
            continue
        if event.kind == Kind.SUBMITTED:
            submitted = read(event.kind, event.data)
            assert isinstance(submitted, Submitted)
            state = _begun(submitted)
        elif state is None:
            return None
        else:
            _take(state, changes, counts, read(event.kind, event.data))
        changes["journal_version"] = event.version
        counts["elapsed_s"] = _elapsed_s(state, event.recorded_at)
    if state is None or not changes:
        return state
    return state.model_copy(update={**changes, "metrics": ExecutionMetrics(**counts)})


def _take(
    state: AgentExecutionState,
    changes: dict[str, Any],
    counts: dict[str, Any],
    event: Event,
) -> None:
    match event:
        case Entered():
            changes["current_phase"] = _phase(event.phases[-1].name)
        case Resumed():
            changes["agent_id"] = event.by
        case Grown():
            counts["sub_tasks"] += len(event)
        case Moved():
            _count(counts, event)
        case Lost():
            counts["done"] -= len(event.results)
            counts["retries"] += len(event.results)
            counts["host_losses"] += len(event.results)
        case Decided():
            counts["failed"] += event.decision != Decision.RUN_AGAIN
        case Stepped():
            change = _change(
                state.execution_id,
                event.from_status,
                event.to,
                event.at,
                event.trigger,
                dict(event.metadata),
            )
            before = changes.get("transitions", state.transitions)
            changes |= {"status": change.to, "transitions": (*before, change), **_end(event)}
        case _:
            pass  # The event does not change the state.


def _count(counts: dict[str, Any], moved: Moved) -> None:
    failed, troubled = list(moved.failed()), list(moved.troubled())
    counts["done"] += moved.done_count
    counts["failed"] += len(failed)
    # An attempt with a span has ended.
    codes = [one.error["code"] for one in failed if one.span is not None]
    codes += [one.code for one in moved.doubtful() if one.span is not None]
    counts["attempts"] += moved.done_count + len(troubled) + len(codes)
    counts["retries"] += len(troubled)
    codes += [one.code for one in troubled]
    counts["timeouts"] += codes.count(DeadlineExceeded.code)
    counts["host_losses"] += sum(one.is_loss for one in troubled)


def _begun(submitted: Submitted) -> AgentExecutionState:
    return AgentExecutionState(
        execution_id=submitted.id,
        agent_id=submitted.by,
        task_id=submitted.job,
        start_time=_moment(submitted.at),
        context=_context(*submitted.attributes),
        metrics=NONE,
    )


def _context(body: bytes, buffers: Sequence[bytes]) -> dict[str, Any]:
    """The caller's attributes; empty if they cannot be decoded without the user's code."""
    try:
        build = describe_contract(GivenAttributes).build
        given = Codec(ContractRegistry()).decode(body, build, tuple(buffers))
        assert isinstance(given, GivenAttributes)
        msgpack.packb(given.values, default=_set_as_list)
    except Exception:  # noqa: BLE001 - user's contracts, arrays or other values
        return {}
    return given.values


def _set_as_list(value: Any) -> list[Any]:
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"a {type(value).__qualname__} is no plain data")


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


def _end(last: Stepped | HistoryStep | None) -> dict[str, Any]:
    """The fields of the state that the last transition sets, if it is the end."""
    if last is None or EXECUTION_TRANSITIONS[ExecutionStatus(last.to)]:
        return {}
    return {"end_time": _moment(last.at), "error": last.metadata.get("error")}


def _phase(name: str | None) -> ExecutionPhase:
    return ExecutionPhase.VALIDATING if name is None else ExecutionPhase(name)


def _elapsed_s(state: AgentExecutionState, at: float) -> float:
    return max(0.0, at - state.start_time.timestamp())


def _moment(timestamp: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC)
