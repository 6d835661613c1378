"""The supervisor core with late, stale and unexpected events, and with requests."""

import pytest

from callboard.messages.control.lifecycle import ENDED_NORMALLY, SHUT_DOWN
from callboard.messages.control.spec import (
    Backoff,
    ChildSpec,
    Intensity,
    Restart,
    Strategy,
    SupervisorSpec,
)
from callboard.messages.core.errors import ActorNotFound, ActorStopped, SpecError, UsageError
from callboard.supervisors.core import SupervisorCore
from callboard.supervisors.effects import NOTHING, StartChild, StopChild
from callboard.supervisors.tree import ChildState
from callboard.supervisors.views import SupervisorState

from .world import CRASH, START_FAILED, World, spec_of, world_of

ALL = Strategy.ONE_FOR_ALL
REST = Strategy.REST_FOR_ONE


# --- events during a sequence ---------------------------------------------------------------------


def test_exit_during_initial_start_is_decided_after_it() -> None:
    world = world_of(answers=False).start()
    world.answer_start("a")
    world.exits("a")
    assert world.taken() == ["start a", "start b"]
    for name in "bcd":
        world.answer_start(name)
    assert world.taken() == ["start c", "start d", "started", "start a"]


def test_exit_in_group_start_restarts_the_group_afterwards() -> None:
    world = world_of(ALL, names="abc").started()
    world.answers = False
    world.exits("c")
    world.answer_stop("b")
    world.answer_stop("a")
    world.answer_start("a")
    world.exits("a")
    world.answer_start("b")
    world.answer_start("c")
    world.answers = True
    world.answer_stop("c")
    tail = ["stop c", "stop b", "start a", "start b", "start c"]
    assert world.taken()[-5:] == tail
    assert world.core.statistics().restarts == 2


def test_exit_of_a_member_before_its_stop_counts_once() -> None:
    world = world_of(ALL, names="abc").started()
    world.answers = False
    world.exits("c")
    world.exits("a")
    world.answers = True
    world.answer_stop("b")
    assert world.taken() == ["stop b", "start a", "start b", "start c"]
    assert world.core.statistics().restarts == 1


def test_older_siblings_exit_takes_over_a_waiting_group() -> None:
    world = world_of(REST, backoff=Backoff(min_s=1.0)).started()
    world.exits("c")
    assert world.taken() == ["stop d", "timer c"]
    world.exits("b")
    assert world.taken() == ["cancel c", "timer b"]
    world.fire()
    assert world.taken() == ["start b", "start c", "start d"]


def test_older_siblings_exit_during_a_failing_group_start_comes_first() -> None:
    """OTP's mailbox holds the exit before the supervisor's own retry, which is stale then."""
    world = world_of(REST, names="abc").started()
    world.answers = False
    world.exits("b")
    world.answer_stop("c")
    world.exits("a")
    world.answer_failed_start("b")
    assert world.taken() == ["stop c", "start b", "start a"]
    world.answers = True
    world.answer_start("a")
    assert world.taken() == ["start b", "start c"]
    assert world.core.statistics().restarts == 2


# --- stale events ---------------------------------------------------------------------------------


def test_stale_events_change_nothing() -> None:
    world = world_of(backoff=Backoff(min_s=1.0)).started()
    old = world.running["b"]
    world.exits("b")
    world.fire()
    world.taken()
    states, now = world.states(), world.now
    core = world.core
    assert core.child_started("b", old, now) == NOTHING
    assert core.child_start_failed("b", old, START_FAILED, now) == NOTHING
    assert core.child_exited("b", old, CRASH, now) == NOTHING
    assert core.timer_fired("b", old, now) == NOTHING
    assert core.child_started("nobody", 1, now) == NOTHING
    assert core.child_exited("nobody", 1, CRASH, now) == NOTHING
    assert world.states() == states


def test_repeated_events_change_nothing() -> None:
    world = world_of().started()
    incarnation = world.running["b"]
    assert world.core.child_started("b", incarnation, world.now) == NOTHING
    assert world.core.child_start_failed("b", incarnation, START_FAILED, world.now) == NOTHING
    world.exits("b", CRASH)
    assert world.core.child_exited("b", incarnation, CRASH, world.now) == NOTHING
    assert world.core.statistics().restarts == 1


def test_event_of_a_removed_child_does_not_touch_its_successor() -> None:
    world = world_of().started()
    old = world.running["b"]
    world.perform(world.core.remove_child("b", world.now))
    world.perform(world.core.add_child(ChildSpec("b"), world.now))
    assert world.core.child_exited("b", old, CRASH, world.now) == NOTHING
    assert world.states()["b"] is ChildState.RUNNING


def test_stale_timer_during_a_waiting_group_changes_nothing() -> None:
    world = world_of(ALL, backoff=Backoff(min_s=1.0)).started()
    world.exits("b")
    (owner,) = world.timers
    assert world.core.timer_fired("b", owner[1] + 1, world.now) == NOTHING
    assert world.core.timer_fired("a", owner[1], world.now) == NOTHING


# --- dynamic children and requests ----------------------------------------------------------------


def test_dynamic_children_start_independently() -> None:
    world = World(spec_of(), answers=False).started()
    for number in range(3):
        world.perform(world.core.add_child(ChildSpec("template"), world.now, number))
    assert world.taken() == ["start 0", "start 1", "start 2"]
    world.answer_start(2)
    assert world.states()[2] is ChildState.RUNNING


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
def test_dynamic_child_that_ended_for_good_is_forgotten(restart: Restart) -> None:
    world = World(spec_of()).started()
    world.perform(world.core.add_child(ChildSpec(7, restart=restart), world.now))
    world.exits(7, ENDED_NORMALLY)
    assert world.taken() == ["start 7", "gone 7"]
    assert len(world.core) == 0


def test_dynamic_child_whose_first_start_fails_is_forgotten_and_counts_nothing() -> None:
    world = World(spec_of(intensity=Intensity(0, 1.0))).started()
    world.unstartable = {7}
    world.perform(world.core.add_child(ChildSpec(7), world.now))
    assert world.taken() == ["start 7", "gone 7"]
    assert world.gone[7] == START_FAILED


def test_child_added_during_a_sequence_starts_at_its_end() -> None:
    world = world_of(ALL, names="ab", answers=False).start()
    world.perform(world.core.add_child(ChildSpec("x"), world.now))
    world.answers = True
    world.answer_start("a")
    assert world.taken() == ["start a", "start b", "start x", "started"]


def test_child_added_during_the_initial_start_may_fail_alone() -> None:
    world = world_of(names="a", answers=False).start()
    world.perform(world.core.add_child(ChildSpec("x"), world.now))
    world.unstartable = {"x"}
    world.answers = True
    world.answer_start("a")
    assert world.taken() == ["start a", "start x", "gone x", "started"]


def test_terminate_keeps_the_spec_and_restart_starts_it_again() -> None:
    world = world_of().started()
    world.perform(world.core.terminate_child("b", world.now))
    assert world.states()["b"] is ChildState.DOWN
    world.perform(world.core.restart_child("b", world.now))
    assert world.taken() == ["stop b", "start b"]
    assert world.core.statistics().restarts == 0


def test_terminate_temporary_forgets_it() -> None:
    world = world_of(restart=Restart.TEMPORARY).started()
    world.perform(world.core.terminate_child("b", world.now))
    assert world.taken() == ["stop b", "gone b"]


def test_restart_by_hand_that_fails_stays_down() -> None:
    world = world_of(intensity=Intensity(0, 1.0)).started()
    world.perform(world.core.terminate_child("b", world.now))
    world.unstartable = {"b"}
    world.perform(world.core.restart_child("b", world.now))
    assert world.states()["b"] is ChildState.DOWN
    assert world.ending is None


def test_restart_of_a_child_that_is_not_down_is_refused() -> None:
    world = world_of().started()
    with pytest.raises(UsageError):
        world.core.restart_child("b", world.now)


def test_terminate_during_back_off_cancels_it() -> None:
    world = world_of(backoff=Backoff(min_s=1.0)).started()
    world.exits("b")
    world.perform(world.core.terminate_child("b", world.now))
    assert world.taken() == ["timer b", "cancel b"]
    assert world.states()["b"] is ChildState.DOWN


def test_terminated_member_of_a_waiting_group_stays_down() -> None:
    world = world_of(ALL, backoff=Backoff(min_s=1.0)).started()
    world.exits("b")
    world.perform(world.core.terminate_child("b", world.now))
    world.taken()
    world.fire()
    assert world.taken() == ["start a", "start c", "start d"]


def test_restart_by_hand_survives_a_take_over_of_the_waiting_group() -> None:
    world = world_of(REST, backoff=Backoff(min_s=1.0)).started()
    world.perform(world.core.terminate_child("a", world.now))
    world.exits("c")
    world.perform(world.core.restart_child("a", world.now))
    world.exits("b")
    world.fire()
    assert set(world.running) == set("abcd")


def test_remove_stops_and_forgets() -> None:
    world = world_of().started()
    world.perform(world.core.remove_child("b", world.now))
    assert world.taken() == ["stop b", "gone b"]
    assert "b" not in world.core


def test_remove_after_terminate_while_stopping_forgets() -> None:
    world = world_of().started()
    world.answers = False
    world.perform(world.core.terminate_child("b", world.now))
    world.perform(world.core.remove_child("b", world.now))
    world.perform(world.core.terminate_child("b", world.now))
    world.answer_stop("b")
    assert world.taken() == ["stop b", "gone b"]


def test_remove_of_the_starting_child_lets_the_initial_start_go_on() -> None:
    world = world_of(names="ab", answers=False).start()
    world.perform(world.core.remove_child("a", world.now))
    assert world.taken() == ["start a", "stop a", "start b"]


def test_child_that_reports_its_start_while_it_is_stopped_stays_stopping() -> None:
    world = World(spec_of(), answers=False).started()
    world.perform(world.core.add_child(ChildSpec("x"), world.now))
    incarnation = world.starting["x"]
    world.perform(world.core.remove_child("x", world.now))
    assert world.core.child_started("x", incarnation, world.now) == NOTHING
    world.answer_stop("x")
    assert world.taken() == ["start x", "stop x", "gone x"]


def test_adopted_child_runs_without_a_start_and_is_restarted_like_others() -> None:
    world = World(spec_of()).started()
    world.perform(world.core.adopt_child(ChildSpec("host"), 41, world.now))
    world.running["host"] = 41
    world.exits("host")
    assert world.taken() == ["start host"]
    assert world.running["host"] == 42


def test_adopting_with_an_incarnation_in_use_is_refused() -> None:
    world = world_of().started()
    with pytest.raises(UsageError):
        world.core.adopt_child(ChildSpec("x"), world.running["b"], world.now)


# --- refusals -------------------------------------------------------------------------------------


def test_duplicate_id_is_refused() -> None:
    with pytest.raises(SpecError):
        SupervisorCore(spec_of(), lambda: 0.0, [ChildSpec("a"), ChildSpec("a")])
    world = world_of().started()
    with pytest.raises(SpecError):
        world.core.add_child(ChildSpec("a"), world.now)


def test_significant_child_needs_auto_shutdown() -> None:
    child = ChildSpec("a", restart=Restart.TRANSIENT, significant=True)
    with pytest.raises(SpecError):
        SupervisorCore(spec_of(), lambda: 0.0, [child])


def test_children_max_is_a_limit_and_frees_up() -> None:
    world = World(spec_of(children_max=1), [ChildSpec("a")]).started()
    with pytest.raises(UsageError):
        world.core.add_child(ChildSpec("b"), world.now)
    world.perform(world.core.remove_child("a", world.now))
    world.perform(world.core.add_child(ChildSpec("b"), world.now))
    assert world.order() == ["b"]


def test_requests_for_unknown_children_are_refused() -> None:
    core = world_of().started().core
    for request in (core.terminate_child, core.remove_child, core.restart_child):
        with pytest.raises(ActorNotFound):
            request("nobody", 100.0)
    with pytest.raises(ActorNotFound):
        core.child("nobody")


def test_add_before_start_and_after_stop_is_refused() -> None:
    core = SupervisorCore(spec_of(), lambda: 0.0)
    with pytest.raises(UsageError):
        core.add_child(ChildSpec("a"), 0.0)
    core.start(0.0)
    core.stop(0.0)
    with pytest.raises(ActorStopped):
        core.add_child(ChildSpec("a"), 0.0)


# --- one core, two levels; statistics; size -------------------------------------------------------


def test_effects_carry_the_spec() -> None:
    child = ChildSpec(("host", 3))
    core = SupervisorCore(spec_of(), lambda: 0.0, [child])
    assert core.start(0.0) == (StartChild(("host", 3), 1, child),)
    stop = core.stop(0.0)
    assert stop == (StopChild(("host", 3), 1, child.stop_timeout, SHUT_DOWN),)


def test_statistics_count() -> None:
    world = world_of(restart=Restart.TRANSIENT).started()
    world.exits("a")
    world.exits("b", ENDED_NORMALLY)
    statistics = world.core.statistics()
    assert (statistics.children, statistics.running) == (4, 3)
    assert (statistics.starts, statistics.restarts, statistics.restarts_recent) == (5, 1, 1)
    assert statistics.last_event_at_s == world.now


def test_stop_of_very_many_children_is_linear() -> None:
    """At 20,000 children a quadratic order of stops would take minutes, not a moment."""
    core = SupervisorCore(SupervisorSpec(), lambda: 0.0)
    core.start(0.0)
    child = ChildSpec("template")
    for number in range(20_000):
        (effect,) = core.add_child(child, 0.0, number)
        assert isinstance(effect, StartChild)
        assert core.child_started(number, effect.incarnation, 0.0) is NOTHING
    for number in range(0, 20_000, 2):  # holes in the order must not cost anything
        (removal,) = core.remove_child(number, 0.0)
        assert isinstance(removal, StopChild)
        core.child_exited(number, removal.incarnation, SHUT_DOWN, 0.0)
    order = []
    (effect_now,) = core.stop(0.0)
    while isinstance(effect_now, StopChild):
        order.append(effect_now.id)
        (effect_now,) = core.child_exited(effect_now.id, effect_now.incarnation, SHUT_DOWN, 0.0)
    assert order == list(range(19_999, 0, -2))
    assert core.state is SupervisorState.STOPPED


def test_timer_of_an_older_back_off_does_not_cut_a_newer_one_short() -> None:
    world = world_of(backoff=Backoff(min_s=1.0)).started()
    old = world.running["b"]
    world.exits("b")
    world.fire()
    world.exits("b")
    assert world.core.timer_fired("b", old, world.now) == NOTHING
    assert world.states()["b"] is ChildState.WAITING
