"""The scheduler's core when attempts fail, time out or are cancelled."""

import pytest

from callboard.actors.scheduler.effects import (
    CancelAttempt,
    Dispatch,
    ExecutionDone,
    TaskDone,
    TaskFailed,
    TaskRetried,
    TasksCancelled,
    TasksSkipped,
)
from callboard.actors.scheduler.graph import CANCELLED
from callboard.messages.core.errors import Cancelled
from callboard.messages.jobs.execution import ExecutionStatus, OnFailure, TaskStatus
from callboard.messages.jobs.retry import RetryPolicy
from tests.actors.scheduler.drive import broken, done, failed, flaky, names, started, task

AT_ONCE = RetryPolicy(backoff_min_s=0, jitter=0)


# --- failure, retry, timeout ------------------------------------------------------------------


def test_retry_after_backoff_then_done() -> None:
    core = started(task("a", retry=RetryPolicy(backoff_min_s=2, jitter=0)))
    (first,) = core.dispatch(0)
    failed(core, first, now=10)
    assert core.status_of("a") is TaskStatus.BACKING_OFF
    assert core.dispatch(11) == []
    assert core.next_deadline() == 12
    core.advance(12, 0.5)
    (second,) = core.dispatch(12)
    done(core, second)
    assert second.attempt == 2
    kinds = [type(effect) for effect in core.take_effects()]
    assert kinds == [TaskRetried, TaskDone, ExecutionDone]


def test_retry_stops_at_attempts_max() -> None:
    core = started(task("a", retry=RetryPolicy(attempts_max=3, backoff_min_s=0, jitter=0)))
    for _ in range(3):
        (attempt,) = core.dispatch(0)
        failed(core, attempt)
    assert core.dispatch(0) == []
    assert core.status is ExecutionStatus.FAILED


def test_programming_error_is_not_retried() -> None:
    core = started(task("a"))
    failed(core, core.dispatch(0)[0], broken())
    assert core.status_of("a") is TaskStatus.FAILED


def test_cancelled_by_the_host_is_not_retried_and_fails() -> None:
    core = started(task("a"))
    failed(core, core.dispatch(0)[0], Cancelled("the host stops"))
    assert core.status is ExecutionStatus.FAILED


def test_timeout_cancels_the_attempt_and_retries() -> None:
    core = started(task("a", timeout_s=5, retry=AT_ONCE), credit=2)
    core.dispatch(0)
    assert core.next_deadline() == 5
    core.advance(5, 0.5)
    assert core.take_effects()[0] == CancelAttempt("a", 1, "h1")
    assert core.dispatch(5) == [Dispatch("a", 2, "h1")]
    assert core.statistics().timeouts == 1


def test_timeout_of_a_finished_attempt_is_no_deadline() -> None:
    core = started(task("a", timeout_s=5), task("b"))
    done(core, core.dispatch(0)[0])
    assert core.next_deadline() is None


def test_late_result_of_a_timed_out_attempt_is_ignored_and_counted() -> None:
    core = started(task("a", timeout_s=5, retry=AT_ONCE), credit=2)
    (first,) = core.dispatch(0)
    core.advance(5, 0.5)
    (second,) = core.dispatch(5)
    core.tasks_done([("a", first.attempt, "late")], 6)
    assert core.status_of("a") is TaskStatus.RUNNING
    core.tasks_done([("a", second.attempt, "good"), ("a", second.attempt, "again")], 6)
    assert core.result_of("a") == "good"
    assert core.statistics().stale_reports == 2
    core.validate_state()


def test_report_of_an_unknown_task_is_ignored_and_counted() -> None:
    core = started(task("a"))
    core.tasks_done([("nobody", 1, None)], 0)
    core.task_failed("nobody", 1, flaky(), 0, 0.5)
    assert core.statistics().stale_reports == 2


def test_fail_fast_cancels_the_rest() -> None:
    core = started(task("a", priority=1), task("b"), task("c", "b"), credit=2)
    first, second = core.dispatch(0)
    failed(core, first, broken())
    effects = core.take_effects()
    assert isinstance(effects[0], TaskFailed)
    assert effects[1:3] == [CancelAttempt("b", 1, second.executor), TasksCancelled(("b", "c"))]
    assert isinstance(effects[3], ExecutionDone)
    assert (effects[3].status, effects[3].failed_task) == (ExecutionStatus.FAILED, "a")
    assert core.dispatch(0) == []


def test_finish_rest_runs_tasks_that_do_not_need_the_failed() -> None:
    core = started(
        task("a"), task("b", "a"), task("c", "b"), task("d"), on_failure=OnFailure.FINISH_REST
    )
    failed(core, core.dispatch(0)[0], broken())
    assert TasksSkipped(("b", "c"), "a") in core.take_effects()
    done(core, *core.dispatch(0))
    assert core.status_of("d") is TaskStatus.DONE
    assert core.status is ExecutionStatus.FAILED


def test_optional_failure_gives_dependants_none() -> None:
    core = started(
        task("a", optional=True), task("b"), task("c", "a", "b", bind={"x": "a", "y": ("a", "b")})
    )
    failed(core, core.dispatch(0)[0], broken())
    done(core, *core.dispatch(0))
    assert core.bindings_of("c") == {"x": None, "y": (None, "B")}
    done(core, *core.dispatch(0))
    assert core.status is ExecutionStatus.COMPLETED


def test_optional_task_between_is_skipped_and_its_dependants_run() -> None:
    core = started(
        task("a"), task("b", "a", optional=True), task("c", "b"), on_failure=OnFailure.FINISH_REST
    )
    failed(core, core.dispatch(0)[0], broken())
    assert core.status_of("b") is TaskStatus.SKIPPED
    assert names(core.dispatch(0)) == ["c"]


def test_a_lost_executor_whose_first_attempt_ends_the_execution_cancels_its_others() -> None:
    core = started(task("a", retry=RetryPolicy(host_losses_max=0)), task("b"), credit=2)
    assert sorted(names(core.dispatch(0))) == ["a", "b"]
    core.executor_lost("h1", 1)
    assert core.status is ExecutionStatus.FAILED
    assert core.status_of("b") is TaskStatus.CANCELLED
    core.validate_state()


# --- cancellation -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["waiting", "ready", "running", "backing_off"])
def test_cancel_one_in_every_state(state: str) -> None:
    patient = RetryPolicy(backoff_min_s=9, jitter=0)
    core = started(task("root", priority=1), task("a", retry=patient), task("b", "root"))
    if state != "waiting":
        done(core, *core.dispatch(0))
    victim = "b" if state == "waiting" else "a"
    if state in ("running", "backing_off"):
        (attempt,) = core.dispatch(0)
        if state == "backing_off":
            failed(core, attempt)
    assert core.status_of(victim) == state
    assert core.cancel(victim, 1)
    assert core.status_of(victim) is TaskStatus.CANCELLED
    assert not core.cancel(victim, 1)
    core.validate_state()
    assert [n for n in names(core.dispatch(2)) if n == victim] == []


def test_a_sub_task_cancelled_in_its_back_off_never_runs_again() -> None:
    core = started(task("a", retry=RetryPolicy(backoff_min_s=9, jitter=0)), task("b"), credit=2)
    first, other = core.dispatch(0)
    failed(core, first)
    core.cancel("a", 1)
    core.validate_state()
    assert core.next_deadline() is None
    core.advance(9, 0.5)
    assert core.status_of("a") is TaskStatus.CANCELLED
    assert core.dispatch(9) == []
    core.validate_state()
    done(core, other)
    assert core.status is ExecutionStatus.COMPLETED


def test_a_back_off_that_outlives_a_cancellation_is_found_by_the_invariants() -> None:
    core = started(task("a", retry=RetryPolicy(backoff_min_s=9, jitter=0)))
    failed(core, core.dispatch(0)[0])
    core._graph.move(0, CANCELLED)
    with pytest.raises(AssertionError, match="backing_off"):
        core.validate_state()


def test_cancel_one_skips_its_dependants_and_fails_nothing() -> None:
    core = started(task("a"), task("b", "a"), task("c"))
    core.cancel("a", 0)
    assert core.status_of("b") is TaskStatus.SKIPPED
    done(core, *core.dispatch(0))
    assert core.status is ExecutionStatus.COMPLETED


def test_cancel_all_ends_at_once() -> None:
    core = started(task("a"), task("b"), task("c", "a"))
    (first,) = core.dispatch(0)
    assert core.cancel_all(1)
    assert not core.cancel_all(1)
    effects = core.take_effects()
    assert effects[0] == CancelAttempt("a", 1, first.executor)
    assert effects[-1] == ExecutionDone(ExecutionStatus.CANCELLED, None, None)
    assert core.progress().cancelled == 3
