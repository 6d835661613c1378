"""The checks of transitions, and the notifications that are not published yet."""

from datetime import UTC, datetime
from itertools import product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.state import core
from callboard.actors.state.core import PendingNotifications, check_history, check_id, step
from callboard.messages.core.errors import UsageError
from callboard.messages.jobs.execution import (
    EXECUTION_TRANSITIONS,
    ExecutionStatus,
    StateTransitionTrigger,
)
from callboard.messages.storage.errors import StoreFull, TransitionRefused
from callboard.messages.storage.states import AgentExecutionState, AgentStateChanged

BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
SUBMITTED: Final = StateTransitionTrigger.SUBMITTED
RUNNING, DONE = ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED


def state_of(status: ExecutionStatus = ExecutionStatus.PENDING) -> AgentExecutionState:
    return AgentExecutionState(
        execution_id="e", agent_id="a", task_id="t", status=status, start_time=BEGAN
    )


@pytest.mark.parametrize(("before", "to"), [*product(ExecutionStatus, ExecutionStatus)])
def test_a_step_is_taken_exactly_when_it_is_a_transition(
    before: ExecutionStatus, to: ExecutionStatus
) -> None:
    allowed = EXECUTION_TRANSITIONS[before]
    if to not in allowed:
        with pytest.raises(TransitionRefused) as refused:
            step(state_of(before), to, SUBMITTED, {}, 1.0)
        assert refused.value.details["allowed"] == sorted(map(str, allowed))
        assert ("none, it has ended" in str(refused.value)) == (not allowed)
        return
    after = step(state_of(before), to, SUBMITTED, {"k": 1}, 5.0)
    (change,) = after.transitions
    assert (after.status, change.from_status, change.to) == (to, before, to)
    assert (change.timestamp, change.trigger, change.metadata) == (5.0, SUBMITTED, {"k": 1})


def test_a_history_without_a_gap_passes() -> None:
    state = step(state_of(), RUNNING, SUBMITTED, {}, 1.0)
    state = step(state, DONE, SUBMITTED, {}, 2.0)
    check_history(state)
    check_history(state_of())


@pytest.mark.parametrize("missing", [0, 1])
def test_a_history_with_a_gap_is_refused(missing: int) -> None:
    state = step(step(state_of(), RUNNING, SUBMITTED, {}, 1.0), DONE, SUBMITTED, {}, 2.0)
    kept = (*state.transitions[:missing], *state.transitions[missing + 1 :])
    with pytest.raises(TransitionRefused, match="lack the one from"):
        check_history(state.model_copy(update={"transitions": kept}))


def test_a_status_that_the_history_cannot_lead_to_is_refused() -> None:
    state = step(state_of(), ExecutionStatus.FAILED, SUBMITTED, {}, 1.0)
    with pytest.raises(TransitionRefused, match="no transition leads"):
        check_history(state.model_copy(update={"status": RUNNING}))


def test_the_managers_own_prefix_is_no_execution() -> None:
    check_id("a:b")
    with pytest.raises(UsageError, match="reserved"):
        check_id(":a")


# --- notifications ------------------------------------------------------------------------------


def changed(execution_id: str, version: int) -> AgentStateChanged:
    return AgentStateChanged(
        execution_id=execution_id, status=RUNNING, timestamp=1.0, version=version
    )


CHANGES = st.lists(st.builds(changed, st.sampled_from("abc"), st.integers(1, 4)), max_size=8)


@given(batches=st.lists(CHANGES, max_size=5), more=CHANGES)
def test_of_each_execution_the_newest_is_pending(
    batches: list[list[AgentStateChanged]], more: list[AgentStateChanged]
) -> None:
    pending, model = PendingNotifications(), dict[str, AgentStateChanged]()
    for change in (change for batch in batches for change in batch):
        old = model.pop(change.execution_id, None)
        model[change.execution_id] = change if old is None or old.version <= change.version else old
    for batch in batches:
        pending.add(batch)
    assert pending.all() == list(model.values())
    assert len(pending) == len(model)
    together = PendingNotifications()
    together.add([*pending.all(), *more])
    assert pending.with_these(more) == together.all()
    assert pending.all() == list(model.values())


def test_a_newer_change_stays_when_an_older_one_was_published() -> None:
    pending = PendingNotifications()
    old, new, other = changed("a", 1), changed("a", 2), changed("b", 1)
    pending.add([old, other])
    published = pending.all()
    pending.add([new])
    pending.remove(published)
    assert pending.all() == [new]
    pending.remove([new])
    assert len(pending) == 0


def test_a_change_of_the_same_version_replaces_the_one_before() -> None:
    pending = PendingNotifications()
    first, second = changed("a", 1), changed("a", 1)
    pending.add([first])
    pending.add([second])
    pending.remove([second])
    assert len(pending) == 0


def test_there_is_room_for_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "PENDING_NOTIFICATIONS_MAX", 2)
    pending = PendingNotifications()
    pending.add([changed("a", 1)])
    pending.check_room()
    pending.add([changed("b", 1)])
    with pytest.raises(StoreFull, match="2 executions"):
        pending.check_room()
