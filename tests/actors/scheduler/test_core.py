"""The scheduler's core, case by case; `test_core_model.py` compares it with a model."""

import pytest

from callboard.actors.scheduler.core import SchedulerCore
from callboard.actors.scheduler.effects import CancelAttempt, Dispatch, Effect, ExecutionDone
from callboard.messages.core.errors import Cancelled, HostLost, NoAgentOffers, PlanError
from callboard.messages.jobs.execution import ExecutionStatus, OnFailure, TaskStatus
from callboard.messages.jobs.plan import Plan, SubTask
from callboard.messages.jobs.retry import RetryPolicy
from tests.actors.scheduler.drive import (
    add_executor,
    broken,
    done,
    failed,
    names,
    run_to_end,
    started,
    task,
)

AT_ONCE = RetryPolicy(backoff_min_s=0, jitter=0)


def names_of(effects: list[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


# --- order ------------------------------------------------------------------------------------


def test_order_higher_priority_first() -> None:
    core = started(task("low"), task("high", priority=1))
    assert run_to_end(core)[1] == ["high", "low"]


def test_order_longer_path_first_among_equal_priority() -> None:
    core = started(task("leaf", weight=2), task("root"), task("long", "root", weight=5))
    assert run_to_end(core)[1] == ["root", "long", "leaf"]


def test_order_plan_order_last() -> None:
    ids = [f"t{n}" for n in (3, 1, 2, 9, 0)]
    assert run_to_end(started(*map(task, ids)))[1] == ids


def test_order_between_kinds_follows_priority() -> None:
    core = started(
        task("a", priority=1), task("b", agent="merge", priority=2), task("c", priority=3)
    )
    assert run_to_end(core)[1] == ["c", "b", "a"]


def test_no_barrier_dependant_starts_when_its_own_needs_ended() -> None:
    core = started(task("a"), task("slow"), task("b", "a"), credit=2)
    a, slow = core.dispatch(0)
    done(core, a)
    assert names(core.dispatch(0)) == ["b"]
    assert core.status_of(slow.task_id) is TaskStatus.RUNNING


def test_upward_rank_of_ready_task_rises_when_the_plan_grows_behind_it() -> None:
    core = started(task("heavy", weight=3), task("root"))
    core.extend([task("long", "root", weight=9)])
    assert names(core.dispatch(0)) == ["root"]


# --- executors ------------------------------------------------------------------------------------


def test_executor_holds_no_more_than_its_credit() -> None:
    core = started(*(task(str(n)) for n in range(5)), credit=2)
    assert len(core.dispatch(0)) == 2
    assert core.dispatch(0) == []
    core.executor_available("h1", 3)
    assert len(core.dispatch(0)) == 1


def test_executor_least_loaded_first() -> None:
    core = SchedulerCore(Plan(task(str(n)) for n in range(6)))
    add_executor(core, "small", credit=2)
    add_executor(core, "large", credit=4)
    executors = [dispatch.executor for dispatch in core.dispatch(0)]
    assert sorted(executors[:3]) == ["large", "large", "small"]


def test_executor_with_shrunken_credit_gets_nothing_until_it_is_below() -> None:
    core = started(*(task(str(n)) for n in range(4)), credit=2)
    first, second = core.dispatch(0)
    core.executor_available("h1", 1)
    done(core, first)
    assert core.dispatch(0) == []
    done(core, second)
    assert len(core.dispatch(0)) == 1


def test_executor_only_gets_what_it_offers() -> None:
    core = SchedulerCore(Plan([task("a"), task("b", agent="merge")]))
    core.executor_available("h1", 5, frozenset({"merge"}))
    assert names(core.dispatch(0)) == ["b"]
    core.executor_available("h1", 5, frozenset({"review"}))
    assert names(core.dispatch(0)) == ["a"]
    core.validate_state()


def test_executor_that_changes_its_offer_is_not_chosen_for_the_old_one() -> None:
    core = SchedulerCore(Plan([task("a"), task("b")]))
    core.executor_available("h1", 5, frozenset({"review"}))
    core.executor_available("h2", 5, frozenset({"merge"}))
    assert names(core.dispatch(0)) == ["a", "b"]
    core.extend([task("c")])
    core.executor_available("h1", 5, frozenset({"merge"}))
    assert core.dispatch(0) == []
    core.validate_state()


def test_kind_without_executor_delays_no_other_and_is_reported() -> None:
    core = started(task("a", agent="nobody", priority=9), task("b"))
    assert names(core.dispatch(3.0)) == ["b"]
    core.dispatch(8.0)
    (unserved,) = core.statistics().unserved
    assert (unserved.kind, unserved.ready, unserved.since) == ("nobody", 1, 3.0)


def test_unservable_kind_fails_ready_tasks() -> None:
    core = started(task("a", agent="nobody"), task("b", "a"), on_failure=OnFailure.FINISH_REST)
    core.dispatch(0)
    assert core.fail_unservable("nobody", NoAgentOffers("nobody offers it"), 9.0) == 1
    assert core.status_of("a") is TaskStatus.FAILED
    assert core.status is ExecutionStatus.FAILED
    core.validate_state()


def test_unservable_kind_fails_what_is_ready_and_leaves_what_waits() -> None:
    tasks = [task("a", agent="nobody"), task("b", agent="nobody"), task("c", "d", agent="nobody")]
    core = started(*tasks, task("d"), on_failure=OnFailure.FINISH_REST)
    assert names(core.dispatch(0.0)) == ["d"]
    assert core.fail_unservable("nobody", NoAgentOffers("nobody offers it"), 9.0) == 2
    assert core.statistics().unserved == ()
    assert core.status_of("c") is TaskStatus.WAITING
    core.validate_state()
    assert core.fail_unservable("nobody", NoAgentOffers("nobody offers it"), 9.0) == 0
    assert core.fail_unservable("unknown", NoAgentOffers("nobody offers it"), 9.0) == 0


def test_unservable_kind_is_spared_once_an_executor_offers_it() -> None:
    core = started(task("a"))
    assert core.fail_unservable("review", NoAgentOffers("nobody offers it"), 9.0) == 0
    assert core.status_of("a") is TaskStatus.READY


def test_executor_lost_attempts_run_again_elsewhere_and_spend_no_attempt() -> None:
    once = RetryPolicy(attempts_max=1)
    core = started(task("a", retry=once))
    core.dispatch(0)
    core.executor_lost("h1", 1)
    add_executor(core, "h2")
    assert core.dispatch(1) == [Dispatch("a", 2, "h2")]
    assert core.statistics().host_losses == 1


def test_executor_lost_too_often_fails_the_task() -> None:
    core = SchedulerCore(Plan([task("a", retry=RetryPolicy(host_losses_max=2))]))
    for n in range(3):
        assert core.status is ExecutionStatus.RUNNING
        add_executor(core, f"h{n}")
        core.dispatch(n)
        core.executor_lost(f"h{n}", n)
    assert isinstance(core.error_of("a"), HostLost)
    assert core.status is ExecutionStatus.FAILED


def test_executor_lost_with_many_attempts_under_fail_fast_leaves_no_slot() -> None:
    never = RetryPolicy(host_losses_max=0)
    core = started(*(task(str(n), retry=never) for n in range(3)), credit=3)
    core.dispatch(0)
    core.executor_lost("h1", 1)
    core.validate_state()
    assert core.progress().failed == 1
    assert core.progress().cancelled == 2
    assert not any(isinstance(effect, CancelAttempt) for effect in core.take_effects())


def test_executor_lost_unknown_is_ignored() -> None:
    core = started(task("a"))
    core.executor_lost("never seen", 0)
    assert names(core.dispatch(0)) == ["a"]


def test_key_keeps_to_one_executor_and_waits_for_it() -> None:
    core = SchedulerCore(Plan([task("a", key="k"), task("b", key="k"), task("c")]))
    add_executor(core, "h1")
    add_executor(core, "h2")
    first = core.dispatch(0)
    assert names(first) == ["a", "c"]
    assert core.dispatch(0) == []
    done(core, *first)
    (second,) = core.dispatch(0)
    assert second.executor == first[0].executor
    core.validate_state()


def test_key_moves_when_its_executor_is_lost_while_work_is_parked_there() -> None:
    core = SchedulerCore(Plan([task("a", key="k"), task("b", key="k")]))
    add_executor(core, "h1")
    add_executor(core, "h2")
    (first,) = core.dispatch(0)
    core.executor_lost(first.executor, 1)
    (second,) = core.dispatch(1)
    assert (second.task_id, second.executor) != (first.task_id, first.executor)
    core.validate_state()
    done(core, second)
    assert len(core.dispatch(1)) == 1


@pytest.mark.parametrize("change", ["drained", "other offer"])
def test_key_moves_when_its_executor_no_longer_takes_it_while_work_is_parked_there(
    change: str,
) -> None:
    core = SchedulerCore(Plan([task("a", key="k"), task("b", key="k")]))
    add_executor(core, "h1")
    add_executor(core, "h2")
    (first,) = core.dispatch(0)
    assert core.dispatch(0) == []
    if change == "drained":
        core.executor_available(first.executor, 0)
    else:
        core.executor_available(first.executor, 1, frozenset({"merge"}))
    (second,) = core.dispatch(0)
    assert second.executor != first.executor
    core.validate_state()


# --- budgets ----------------------------------------------------------------------------------


def test_limit_of_one_loses_nothing() -> None:
    core = started(*(task(str(n)) for n in range(50)), credit=8, concurrency_max=1)
    running: list[Dispatch] = []
    seen = []
    while core.status is ExecutionStatus.RUNNING:
        running = core.dispatch(0)
        assert len(running) == 1
        seen += names(running)
        done(core, *running)
    assert seen == [str(n) for n in range(50)]


def test_limit_by_kind_leaves_room_for_others() -> None:
    tasks = [task(f"r{n}", priority=1) for n in range(3)]
    tasks += [task(f"m{n}", agent="merge") for n in range(3)]
    core = started(*tasks, credit=8, concurrency_max_by_kind={"review": 1})
    assert names(core.dispatch(0)) == ["r0", "m0", "m1", "m2"]


def test_limit_counts_a_cancelled_attempt_until_it_answers() -> None:
    core = started(task("a"), task("b"), credit=8, concurrency_max=1)
    (first,) = core.dispatch(0)
    core.cancel("a", 0)
    assert core.dispatch(0) == []
    failed(core, first, Cancelled("as asked"))
    assert names(core.dispatch(0)) == ["b"]


def test_limit_frees_a_silent_cancelled_attempt_after_the_grace() -> None:
    core = started(task("a"), task("b"), cancel_grace_s=2)
    core.dispatch(0)
    core.cancel("a", 10)
    assert core.next_deadline() == 12
    core.advance(12, 0.5)
    assert names(core.dispatch(12)) == ["b"]
    assert core.statistics().cancels_unanswered == 1


# --- growth -----------------------------------------------------------------------------------


def test_empty_plan_completes_at_once() -> None:
    assert started().take_effects() == [ExecutionDone(ExecutionStatus.COMPLETED, None, None)]


def test_open_ended_waits_for_close() -> None:
    core = started(open_ended=True)
    assert core.take_effects() == []
    core.extend([task("a")])
    done(core, *core.dispatch(0))
    assert core.progress().fraction == 1
    assert names_of(core.take_effects()) == ["TaskDone"]
    core.close()
    assert core.status is ExecutionStatus.COMPLETED


def test_grown_task_may_need_done_running_and_waiting_ones() -> None:
    core = started(task("done"), task("running", "done"), task("waiting", "running"))
    done(core, *core.dispatch(0))
    (running,) = core.dispatch(0)
    core.extend([task("new", "done", "running", "waiting"), task("free", "done")])
    core.validate_state()
    done(core, running)
    assert set(run_to_end(core)[1]) == {"waiting", "new", "free"}


def test_grown_task_that_needs_a_failed_one_is_skipped() -> None:
    core = started(task("a"), task("b"), on_failure=OnFailure.FINISH_REST)
    failed(core, core.dispatch(0)[0], broken())
    core.extend([task("c", "a"), task("d", "c")])
    assert core.status_of("c") is TaskStatus.SKIPPED
    assert core.status_of("d") is TaskStatus.SKIPPED


def test_grown_optional_task_that_is_skipped_does_not_free_what_is_skipped_too() -> None:
    core = started(task("a"), task("b"))
    core.cancel("a", 0)
    core.extend([task("c", "a", optional=True), task("d", "a", "c")])
    assert core.status_of("d") is TaskStatus.SKIPPED
    core.validate_state()


@pytest.mark.parametrize(
    ("added", "text"),
    [
        ([task("x", "y"), task("y", "x")], "cycle"),
        ([task("x", "nobody")], "'x' needs 'nobody'"),
        ([task("a")], "'a' is in the plan already"),
        ([task("x"), task("x")], "occurs 2 times"),
    ],
)
def test_invalid_growth_is_refused_whole(added: list[SubTask], text: str) -> None:
    core = started(task("a"))
    with pytest.raises(PlanError, match=text):
        core.extend([task("good"), *added])
    assert core.progress().total == 1
    core.validate_state()


def test_growth_after_the_end_is_refused() -> None:
    core = started()
    with pytest.raises(PlanError, match="has ended"):
        core.extend([task("a")])


# --- results ------------------------------------------------------------------------------------


def test_result_handles_are_bound_by_name() -> None:
    core = started(task("a"), task("b"), task("c", "a", "b", bind={"one": "a", "all": ("b", "a")}))
    run_to_end(core)
    assert core.bindings_of("c") == {"one": "A", "all": ("B", "A")}


def test_progress_counts_every_state() -> None:
    core = started(task("a"), task("b", "a"), task("c"))
    (first,) = core.dispatch(0)
    progress = core.progress()
    assert (progress.running, progress.waiting, progress.ready) == (1, 1, 1)
    done(core, first)
    assert core.progress().done == 1
    assert core.progress().fraction == pytest.approx(1 / 3)
