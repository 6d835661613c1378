"""What a core takes over from the history of an execution, and the counts that it keeps."""

import pytest

from callboard.actors.scheduler.core import SchedulerCore
from callboard.actors.scheduler.effects import (
    ExecutionDone,
    TaskDone,
    TaskDoubtful,
    TaskFailed,
)
from callboard.messages.core.errors import HostLost
from callboard.messages.jobs.execution import ExecutionStatus, OnFailure, TaskStatus
from callboard.messages.jobs.plan import Plan
from callboard.messages.jobs.retry import RetryPolicy

from .drive import add_executor, broken, done, failed, flaky, names, started, task

LOST = HostLost("the host is gone.", advice="")


def test_sub_tasks_that_were_done_are_done_and_the_rest_is_ready() -> None:
    core = started(task("a"), task("b", "a"), task("c", "b"), task("d"), credit=9)
    core.restore_done([(0, 2, "A"), (1, 1, "B")])
    core.validate_state()
    assert core.take_effects() == [TaskDone("a", 2, "A"), TaskDone("b", 1, "B")]
    assert (core.result_of("a"), core.result_of("b")) == ("A", "B")
    assert [core.status_of(name).name for name in "abcd"] == ["DONE", "DONE", "READY", "READY"]
    # A second report changes nothing.
    core.restore_done([(0, 3, "other")])
    assert (core.take_effects(), core.result_of("a")) == ([], "A")
    assert names(core.dispatch(0.0)) == ["c", "d"]
    core.validate_state()


def test_all_done_before_a_restart_is_the_end() -> None:
    core = started(task("a"))
    core.restore_done([(0, 1, "A")])
    assert core.take_effects()[-1] == ExecutionDone(ExecutionStatus.COMPLETED, None, None)
    assert core.ended == ExecutionDone(ExecutionStatus.COMPLETED, None, None)
    core.validate_state()


def test_attempts_before_a_restart_count_for_the_next() -> None:
    policy = RetryPolicy(attempts_max=3, host_losses_max=2)
    core = started(task("a", retry=policy), task("b", retry=policy), credit=9)
    for attempt in (1, 2):
        core.restore_failed_attempt(0, attempt, is_loss=False)
        core.restore_failed_attempt(1, attempt, is_loss=True)
    core.restore_failed_attempt(1, 1, is_loss=False)
    first, second = core.dispatch(0.0)
    assert (first.attempt, second.attempt) == (3, 3)
    core.take_effects()
    failed(core, second)
    assert core.status_of("b") is not TaskStatus.FAILED
    failed(core, first)
    assert core.status_of("a") is TaskStatus.FAILED
    core.validate_state()


def test_losses_before_a_restart_count_as_losses() -> None:
    policy = RetryPolicy(attempts_max=9, host_losses_max=1)
    core = started(task("a", retry=policy))
    core.restore_failed_attempt(0, 1, is_loss=True)
    core.dispatch(0.0)
    core.executor_lost("h1", 1.0)
    assert core.status_of("a") is TaskStatus.FAILED


@pytest.mark.parametrize("mode", list(OnFailure))
def test_a_failure_before_a_restart_is_one_after_it(mode: OnFailure) -> None:
    core = started(task("a"), task("b", "a"), task("c"), credit=9, on_failure=mode)
    error = broken()
    core.restore_failure(0, error, 1.0)
    core.validate_state()
    effects = core.take_effects()
    assert effects[0] == TaskFailed("a", error, optional=False)
    assert core.error_of("a") is error
    if mode is OnFailure.FAIL_FAST:
        assert effects[-1] == ExecutionDone(ExecutionStatus.FAILED, "a", error)
        assert names(core.dispatch(0.0)) == []
    else:
        assert core.status_of("b") is TaskStatus.SKIPPED
        assert names(core.dispatch(0.0)) == ["c"]
    core.restore_failure(0, flaky(), 1.0)
    assert core.error_of("a") is error
    core.validate_state()


def test_a_failure_of_the_last_one_ends_the_execution() -> None:
    core = started(task("a", optional=True))
    core.restore_failure(0, broken(), 1.0)
    assert core.take_effects()[-1] == ExecutionDone(ExecutionStatus.COMPLETED, None, None)


def test_a_doubt_before_a_restart_is_one_after_it() -> None:
    core = started(task("a", non_idempotent=True), task("b"), credit=9)
    core.restore_doubt(0, 4, LOST)
    core.validate_state()
    assert core.take_effects() == [TaskDoubtful("a", 4, LOST)]
    core.restore_doubt(0, 5, LOST)
    core.restore_done([(1, 1, "B")])
    core.restore_doubt(1, 1, LOST)
    assert core.take_effects() == [TaskDone("b", 1, "B")]
    assert names(core.dispatch(0.0)) == []
    core.validate_state()


def test_everything_is_counted() -> None:
    retry = RetryPolicy(attempts_max=9, backoff_min_s=1.0, jitter=0.0)
    core = started(task("a", retry=retry, timeout_s=5.0), credit=1)
    (first,) = core.dispatch(0.0)
    failed(core, first)
    failed(core, first)
    core.advance(2.0, 0.5)
    core.dispatch(2.0)
    core.advance(8.0, 0.5)
    core.advance(20.0, 0.5)
    (third,) = core.dispatch(20.0)
    core.executor_lost("h1", 21.0)
    done(core, third, now=22.0)
    statistics = core.statistics()
    assert (statistics.attempts_started, statistics.retries) == (3, 3)
    assert (statistics.timeouts, statistics.host_losses) == (1, 1)
    assert (statistics.stale_reports, statistics.cancels_unanswered) == (2, 1)
    assert (statistics.attempts_running, statistics.attempts_cancelling) == (0, 0)
    core.validate_state()


def test_an_execution_that_has_ended_keeps_no_work() -> None:
    core = started(task("a"), task("b", "a"), task("c", key="k"), task("d", key="k"), credit=1)
    core.dispatch(0.0)
    assert core.cancel_all(1.0)
    assert not core.cancel_all(1.0)
    assert core._graph.dependants == {}
    assert all(not len(kind.queue) for kind in core._pool.kinds.values())
    core.validate_state()


def test_a_core_without_executors_waits_for_one() -> None:
    core = SchedulerCore(Plan((task("a"),)))
    assert core.dispatch(3.0) == []
    (unserved,) = core.statistics().unserved
    assert (unserved.kind, unserved.ready, unserved.since) == ("review", 1, 3.0)
    assert core.dispatch(4.0) == []
    assert core.statistics().unserved[0].since == 3.0
    add_executor(core)
    assert names(core.dispatch(5.0)) == ["a"]
    assert core.statistics().unserved == ()
    core.executor_lost("h1", 6.0)
    core.dispatch(7.0)
    assert core.statistics().unserved[0].since == 7.0


def test_only_kinds_that_nobody_offers_and_that_are_ready_are_unserved() -> None:
    core = started(task("a"), task("b"), task("c", agent="nobody"), credit=1)
    core.dispatch(1.0)
    assert core.progress().ready == 2
    assert [each.kind for each in core.statistics().unserved] == ["nobody"]
    core.cancel("c", 2.0)
    assert core.statistics().unserved == ()
