"""Plans, retry policies and states: the refusals, and all problems in one error."""

import pickle
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.core.errors import (
    CallboardError,
    Cancelled,
    ClusterUnreachable,
    DeadlineExceeded,
    HandlerFailed,
    HostLost,
    InternalError,
    InvalidMessage,
    PlanError,
    SpecError,
    WrongReply,
    error_from_data,
)
from callboard.messages.jobs import plan as plan_module
from callboard.messages.jobs.execution import (
    ExecutionStatus,
    StateTransition,
    StateTransitionTrigger,
    TaskStatus,
)
from callboard.messages.jobs.plan import PROBLEMS_MAX, Plan, SubTask
from callboard.messages.jobs.retry import RETRYABILITY, Retryability, RetryPolicy, retryability_of
from tests.actors.scheduler.drive import task


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        ([task("a", "a")], "cycle: 'a' -> 'a'"),
        (
            [task("a", "b"), task("b", "c"), task("c", "a"), task("d", "a")],
            "'a' -> 'b' -> 'c' -> 'a'",
        ),
        ([task("a", "x")], "'a' needs 'x', which is not in the plan"),
        ([task("a"), task("a"), task("a")], "the id 'a' occurs 3 times"),
        ([task("")], "is empty"),
        ([task("a", weight=0)], "weight 0"),
        ([task("a", timeout_s=-1)], "timeout_s -1"),
        ([task("a"), task("b", bind={"f": "a"})], "binds f to 'a', which is not among its needs"),
        ([task("a"), task("b", bind={"f": ("a",)})], "not among its needs"),
        ([SubTask("a", None, needs="bc")], "str as needs"),  # type: ignore[arg-type]
    ],
)
def test_wrong_plan_is_refused(tasks: list[SubTask], text: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan(tasks)
    assert text in str(caught.value)


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        Plan([task("a", "a"), task("b", "x", weight=-1), task("c"), task("c")])
    assert caught.value.details["problems_count"] == 4


def test_separate_cycles_are_all_named() -> None:
    with pytest.raises(PlanError) as caught:
        Plan([task("a", "b"), task("b", "a"), task("c", "d", "a"), task("d", "c")])
    assert "'a' -> 'b' -> 'a'" in str(caught.value)
    assert "'c' -> 'd' -> 'c'" in str(caught.value)


def test_listed_problems_are_limited() -> None:
    with pytest.raises(PlanError) as caught:
        Plan([task(str(n), "x") for n in range(100)])
    assert len(caught.value.details["problems"]) == PROBLEMS_MAX
    assert "and 80 more" in str(caught.value)


def test_long_cycle_is_found_and_shortened() -> None:
    with pytest.raises(PlanError, match="more"):
        Plan([task(str(n), str((n + 1) % 5_000)) for n in range(5_000)])


def test_too_many_sub_tasks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SUB_TASKS_MAX", 3)
    with pytest.raises(PlanError, match="limit of 3"):
        Plan([task(str(n)) for n in range(4)])


def test_plan_error_survives_the_way_between_processes() -> None:
    with pytest.raises(PlanError) as caught:
        Plan([task("a", "a")])
    assert str(error_from_data(caught.value.to_data())) == str(caught.value)


def test_sub_task_without_bindings_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(SubTask("a", request=1))) == SubTask("a", request=1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15))
def test_plan_is_refused_exactly_when_there_is_a_cycle(edges: list[tuple[int, int]]) -> None:
    needs: dict[int, set[int]] = {n: set() for n in range(10)}
    for a, b in edges:
        needs[a].add(b)
    left = dict(needs)  # remove nodes without remaining needs until nothing changes
    while free := [n for n in left if not left[n] & left.keys()]:
        for n in free:
            del left[n]
    tasks = [task(str(n), *map(str, sorted(needs[n]))) for n in needs]
    if not left:
        assert len(Plan(tasks)) == 10
        return
    with pytest.raises(PlanError) as caught:
        Plan(tasks)
    path = [int(name.strip("'")) for name in caught.value.details["cycle"]]
    assert path[0] == path[-1]
    assert all(b in needs[a] for a, b in pairwise(path))


# --- retries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidMessage("x"), Retryability.NEVER),
        (WrongReply("x"), Retryability.NEVER),
        (Cancelled("x"), Retryability.NEVER),
        (InternalError("x"), Retryability.NEVER),
        (HostLost("x"), Retryability.HOST_LOSS),
        (DeadlineExceeded("x"), Retryability.ATTEMPT),
        (ClusterUnreachable("x"), Retryability.ATTEMPT),  # by its base class
        (CallboardError("x"), Retryability.ATTEMPT),
        (HandlerFailed("x", remote_type="builtins.TypeError"), Retryability.NEVER),
        (HandlerFailed("x", remote_type="NameError"), Retryability.NEVER),
        (HandlerFailed("x", remote_type="builtins.ValueError"), Retryability.ATTEMPT),
        (HandlerFailed("x", remote_type="library.TypeError"), Retryability.ATTEMPT),
    ],
)
def test_retryability(error: CallboardError, expected: Retryability) -> None:
    assert retryability_of(error) is expected


def test_every_listed_code_belongs_to_an_error() -> None:
    for code in RETRYABILITY:
        assert error_from_data({"code": code}).code == code


def test_retry_on_narrows_and_never_widens() -> None:
    policy = RetryPolicy(retry_on=frozenset({"library.Busy", "invalid_message"}))
    assert policy.retries(HandlerFailed("x", remote_type="library.Busy")) is Retryability.ATTEMPT
    assert policy.retries(HandlerFailed("x", remote_type="library.Other")) is Retryability.NEVER
    assert policy.retries(InvalidMessage("x")) is Retryability.NEVER
    assert policy.retries(HostLost("x")) is Retryability.HOST_LOSS


def test_backoff_grows_to_its_maximum() -> None:
    policy = RetryPolicy(backoff_min_s=0.5, factor=2, backoff_max_s=3, jitter=0)
    assert [policy.backoff_s(n, 0.9) for n in (1, 2, 3, 4, 900)] == [0.5, 1, 2, 3, 3]


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_within_its_jitter(failures: int, random: float) -> None:
    policy = RetryPolicy(jitter=0.2)
    exact = RetryPolicy(jitter=0).backoff_s(failures, 0)
    assert 0.8 * exact - 1e-9 <= policy.backoff_s(failures, random) <= 1.2 * exact + 1e-9


@pytest.mark.parametrize(
    "fields",
    [
        {"attempts_max": 0},
        {"host_losses_max": -1},
        {"jitter": 2},
        {"factor": 0.5},
        {"backoff_min_s": 5, "backoff_max_s": 1},
    ],
)
def test_wrong_retry_policy_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(fields)).partition("_")[0]):
        RetryPolicy(**fields)


# --- states -------------------------------------------------------------------------------------


def test_allowed_step_is_a_transition() -> None:
    step = StateTransition(
        TaskStatus.READY, TaskStatus.RUNNING, 1.0, StateTransitionTrigger.DISPATCHED
    )
    assert step.to is TaskStatus.RUNNING


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TaskStatus.DONE, TaskStatus.RUNNING),
        (TaskStatus.WAITING, TaskStatus.RUNNING),
        (TaskStatus.READY, ExecutionStatus.RUNNING),
        (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED),
    ],
)
def test_forbidden_step_is_refused(
    before: TaskStatus | ExecutionStatus, after: TaskStatus | ExecutionStatus
) -> None:
    with pytest.raises(InternalError):
        StateTransition(before, after, 1.0, StateTransitionTrigger.SUCCEEDED)
