"""Non-idempotent sub-tasks: one that may have run does not run again without a decision."""

import pytest

from callboard.actors.scheduler.core import SchedulerCore
from callboard.actors.scheduler.effects import ExecutionDone, TaskDoubtful, TaskFailed, TaskRetried
from callboard.messages.core.errors import ActorStopped, DeadlineExceeded, HandlerFailed, HostLost
from callboard.messages.jobs.execution import Decision, ExecutionStatus, TaskStatus
from callboard.messages.jobs.plan import Plan, SubTask

KINDS = frozenset({"pay"})


def core_of(*sub_tasks: SubTask) -> SchedulerCore:
    core = SchedulerCore(Plan(sub_tasks), kind_of=lambda _: "pay")
    core.executor_available("1/1", 4, KINDS)
    return core


def pay(**fields: object) -> SubTask:
    return SubTask("pay", None, non_idempotent=True, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        HandlerFailed("it raised"),
        HostLost("gone", may_have_run=True),
        DeadlineExceeded("no answer"),
    ],
)
def test_a_task_that_may_have_run_is_in_doubt(
    error: HandlerFailed | HostLost | DeadlineExceeded,
) -> None:
    core = core_of(pay())
    core.dispatch(0.0)
    core.task_failed("pay", 1, error, 1.0, 0.5)
    assert core.status_of("pay") is TaskStatus.IN_DOUBT
    assert core.take_effects() == [TaskDoubtful("pay", 1, error)]
    assert core.dispatch(1e6) == []
    assert core.progress().in_doubt == 1
    core.validate_state()


def test_a_task_that_has_not_run_is_retried() -> None:
    core = core_of(pay())
    core.dispatch(0.0)
    core.task_failed("pay", 1, ActorStopped("not there", may_have_run=False), 1.0, 0.5)
    (retried,) = core.take_effects()
    assert isinstance(retried, TaskRetried)


def test_the_loss_of_an_executor_leaves_it_in_doubt_and_runs_the_others_again() -> None:
    core = core_of(pay(), SubTask("read", None))
    core.dispatch(0.0)
    core.executor_lost("1/1", 1.0)
    assert core.status_of("pay") is TaskStatus.IN_DOUBT
    core.executor_available("2/1", 4, KINDS)
    assert [dispatch.task_id for dispatch in core.dispatch(1.0)] == ["read"]
    core.validate_state()


def test_a_time_out_leaves_it_in_doubt() -> None:
    core = core_of(pay(timeout_s=5.0))
    core.dispatch(0.0)
    core.advance(5.0, 0.5)
    assert core.status_of("pay") is TaskStatus.IN_DOUBT


@pytest.mark.parametrize("decision", [Decision.RUN_AGAIN, Decision.FAIL])
def test_a_decision_settles_it_once(decision: Decision) -> None:
    core = core_of(pay())
    core.dispatch(0.0)
    core.task_failed("pay", 1, HandlerFailed("it raised"), 1.0, 0.5)
    core.take_effects()
    assert not core.decide("pay", Decision.ASK, 2.0)
    assert core.decide("pay", decision, 2.0)
    assert not core.decide("pay", decision, 2.0)
    if decision is Decision.RUN_AGAIN:
        assert [dispatch[:2] for dispatch in core.dispatch(2.0)] == [("pay", 2)]
    else:
        kinds = [type(effect) for effect in core.take_effects()]
        assert kinds == [TaskFailed, ExecutionDone]
        assert core.status is ExecutionStatus.FAILED
    core.validate_state()


def test_cancelling_ends_it() -> None:
    core = core_of(pay())
    core.dispatch(0.0)
    core.task_failed("pay", 1, HandlerFailed("it raised"), 1.0, 0.5)
    assert core.cancel_all(2.0)
    assert core.status_of("pay") is TaskStatus.CANCELLED
    assert not core.decide("pay", Decision.RUN_AGAIN, 3.0)
    core.validate_state()


def test_an_attempt_before_a_restart_is_in_doubt() -> None:
    core = core_of(pay())
    core.restore_doubt(0, 3, HostLost("interrupted"))
    assert core.dispatch(0.0) == []
    assert core.decide("pay", Decision.RUN_AGAIN, 1.0)
    assert [dispatch[:2] for dispatch in core.dispatch(1.0)] == [("pay", 4)]
    core.validate_state()
