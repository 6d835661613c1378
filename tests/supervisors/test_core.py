"""The supervisor core and OTP's rules: strategy x restart type x exit."""

import pytest

from callboard.messages.control.lifecycle import ENDED_NORMALLY, SHUT_DOWN, ExitReason
from callboard.messages.control.spec import (
    Backoff,
    ChildSpec,
    Intensity,
    Restart,
    StopTimeout,
    Strategy,
)
from callboard.messages.core.errors import UsageError
from callboard.supervisors.core import SupervisorCore
from callboard.supervisors.effects import NOTHING, Escalate, SupervisorStarted, SupervisorStopped
from callboard.supervisors.tree import ChildState
from callboard.supervisors.views import SupervisorState

from .world import CRASH, EXITS, START_FAILED, World, spec_of, world_of

ALL = Strategy.ONE_FOR_ALL
REST = Strategy.REST_FOR_ONE
ONE = Strategy.ONE_FOR_ONE


# --- the matrix -----------------------------------------------------------------------------------

RESTARTED = {
    ONE: ["start b"],
    ALL: ["stop d", "stop c", "stop a", "start a", "start b", "start c", "start d"],
    REST: ["stop d", "stop c", "start b", "start c", "start d"],
}


@pytest.mark.parametrize("ending", EXITS)
@pytest.mark.parametrize("strategy", Strategy)
def test_permanent_any_exit_restarts(strategy: Strategy, ending: str) -> None:
    world = world_of(strategy).started()
    world.exits("b", EXITS[ending])
    assert world.taken() == RESTARTED[strategy]
    assert world.order() == list("abcd")


@pytest.mark.parametrize("ending", ["killed", "failed", "host_lost"])
@pytest.mark.parametrize("strategy", Strategy)
def test_transient_abnormal_restarts(strategy: Strategy, ending: str) -> None:
    world = world_of(strategy, Restart.TRANSIENT).started()
    world.exits("b", EXITS[ending])
    assert world.taken() == RESTARTED[strategy]


@pytest.mark.parametrize("ending", ["normal", "shutdown"])
@pytest.mark.parametrize("strategy", Strategy)
def test_transient_normal_stays_down_with_its_spec(strategy: Strategy, ending: str) -> None:
    world = world_of(strategy, Restart.TRANSIENT).started()
    world.exits("b", EXITS[ending])
    assert world.taken() == []
    assert world.states()["b"] is ChildState.DOWN
    assert world.core.child("b").last_exit == EXITS[ending]


@pytest.mark.parametrize("ending", EXITS)
@pytest.mark.parametrize("strategy", Strategy)
def test_temporary_any_exit_is_forgotten(strategy: Strategy, ending: str) -> None:
    world = world_of(strategy, Restart.TEMPORARY).started()
    world.exits("b", EXITS[ending])
    assert world.taken() == ["gone b"]
    assert world.gone["b"] == EXITS[ending]
    assert world.order() == list("acd")


@pytest.mark.parametrize(("strategy", "first"), [(ALL, "a"), (REST, "a")])
def test_group_restart_drops_temporary_siblings(strategy: Strategy, first: str) -> None:
    world = world_of(strategy, Restart.TEMPORARY).started()
    world.exits(first)
    stops = ["stop d", "stop c", "stop b", "gone b"]
    assert world.taken() == [*stops, "start a", "start c", "start d"]


@pytest.mark.parametrize("strategy", [ALL, REST])
def test_group_restart_starts_siblings_that_were_down(strategy: Strategy) -> None:
    """OTP starts every child of the group, even one that ended or was terminated before."""
    world = world_of(strategy, Restart.TRANSIENT).started()
    world.exits("b", ENDED_NORMALLY)
    world.perform(world.core.terminate_child("c", world.now))
    world.taken()
    world.exits("a")
    assert world.taken() == ["stop d", "start a", "start b", "start c", "start d"]


def test_rest_for_one_last_child_restarts_alone() -> None:
    world = world_of(REST).started()
    world.exits("d")
    assert world.taken() == ["start d"]


# --- start and stop -------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", Strategy)
def test_initial_start_is_ordered(strategy: Strategy) -> None:
    world = world_of(strategy, answers=False).start()
    for name, following in zip("abcd", ["start b", "start c", "start d", "started"], strict=True):
        assert world.taken() == [f"start {name}"]
        assert world.core.state is SupervisorState.STARTING
        world.answer_start(name)
        assert world.trace == [following]
    assert world.core.state is SupervisorState.RUNNING


def test_start_without_children_is_started_at_once() -> None:
    assert SupervisorCore(spec_of(), lambda: 0.0).start(0.0) == (SupervisorStarted(),)


def test_start_twice_is_refused() -> None:
    world = world_of().started()
    with pytest.raises(UsageError):
        world.core.start(world.now)


@pytest.mark.parametrize("strategy", Strategy)
def test_start_failing_half_way_stops_in_reverse_and_escalates(strategy: Strategy) -> None:
    world = world_of(strategy)
    world.unstartable = {"c"}
    world.start()
    assert world.taken() == ["start a", "start b", "start c", "stop b", "stop a", "escalate"]
    assert isinstance(world.ending, Escalate)
    assert world.ending.exit.kind is ExitReason.START_FAILED
    assert world.ending.exit.detail["child"] == "c"
    assert world.ending.exit.detail["exit"] == START_FAILED.to_data()


def test_child_that_exits_while_starting_failed_to_start() -> None:
    world = world_of(answers=False).start()
    incarnation = world.starting.pop("a")
    world.perform(world.core.child_exited("a", incarnation, ENDED_NORMALLY, world.now))
    assert world.taken() == ["start a", "escalate"]


@pytest.mark.parametrize("strategy", Strategy)
def test_stop_is_in_reverse_one_at_a_time(strategy: Strategy) -> None:
    world = world_of(strategy).started()
    world.answers = False
    world.perform(world.core.stop(world.now))
    for name in "dcba":
        assert world.taken() == [f"stop {name}"]
        world.answer_stop(name)
    assert world.taken() == ["stopped"]
    assert world.ending == SupervisorStopped(SHUT_DOWN)
    assert len(world.core) == 0


def test_stop_carries_each_childs_timeout() -> None:
    timeouts = [StopTimeout(1.5), StopTimeout.INFINITY, StopTimeout.KILL]
    children = [ChildSpec(n, stop_timeout=timeout) for n, timeout in enumerate(timeouts)]
    world = World(spec_of(), children).started()
    world.perform(world.core.stop(world.now))
    assert [stop.timeout for stop in world.stops] == timeouts[::-1]
    assert all(stop.reason == SHUT_DOWN for stop in world.stops)


def test_stop_order_is_start_order_reversed_after_restarts_and_additions() -> None:
    world = world_of().started()
    world.perform(world.core.add_child(ChildSpec("e"), world.now))
    world.exits("b")
    world.perform(world.core.remove_child("a", world.now))
    world.perform(world.core.add_child(ChildSpec("a"), world.now))
    world.taken()
    world.perform(world.core.stop(world.now))
    assert world.taken() == ["stop a", "stop e", "stop d", "stop c", "stop b", "stopped"]


def test_stop_during_initial_start_stops_the_starting_child_first() -> None:
    world = world_of(answers=False).start()
    world.answer_start("a")
    world.perform(world.core.stop(world.now))
    world.answer_stop("b", START_FAILED)
    world.answer_stop("a")
    assert world.taken() == ["start a", "start b", "stop b", "stop a", "stopped"]


def test_stop_during_group_restart_does_not_start_again() -> None:
    world = world_of(ALL).started()
    world.answers = False
    world.exits("d")
    world.perform(world.core.stop(world.now))
    assert world.taken() == ["stop c"]
    for name in "cba":
        world.answer_stop(name)
    assert world.taken() == ["stop b", "stop a", "stopped"]


def test_stop_cancels_back_off_timers() -> None:
    world = world_of(backoff=Backoff(min_s=1.0)).started()
    world.exits("b")
    world.exits("c")
    world.perform(world.core.stop(world.now))
    expected = ["timer b", "timer c", "stop d", "cancel c", "cancel b", "stop a", "stopped"]
    assert world.taken() == expected


def test_stop_sees_children_that_end_before_their_turn() -> None:
    world = world_of().started()
    world.answers = False
    world.perform(world.core.stop(world.now))
    world.exits("b")
    world.answer_stop("d")
    world.answer_stop("c")
    world.answer_stop("a")
    assert world.taken() == ["stop d", "stop c", "stop a", "stopped"]


def test_stop_before_start_and_twice() -> None:
    core = SupervisorCore(spec_of(), lambda: 0.0, [ChildSpec("a")])
    assert core.stop(0.0) == (SupervisorStopped(SHUT_DOWN),)
    assert core.stop(0.0) == NOTHING


# --- intensity and escalation ---------------------------------------------------------------------


@pytest.mark.parametrize("strategy", Strategy)
def test_intensity_exactly_at_limit_goes_on(strategy: Strategy) -> None:
    world = world_of(strategy, intensity=Intensity(3, 5.0)).started()
    for _ in range(3):
        world.exits("b")
    assert world.core.state is SupervisorState.RUNNING
    assert world.core.statistics().restarts == 3


@pytest.mark.parametrize("strategy", Strategy)
def test_intensity_one_over_stops_all_in_reverse_and_escalates(strategy: Strategy) -> None:
    world = world_of(strategy, intensity=Intensity(3, 5.0)).started()
    for _ in range(3):
        world.exits("b")
    world.taken()
    world.exits("b")
    assert world.taken() == ["stop d", "stop c", "stop a", "escalate"]
    assert isinstance(world.ending, Escalate)
    assert world.ending.exit.kind is ExitReason.SHUTDOWN
    assert world.ending.exit.detail["cause"] == "restart_intensity_exceeded"
    assert world.ending.exit.detail["exit"] == CRASH.to_data()


@pytest.mark.parametrize(("later_s", "goes_on"), [(5.0, False), (5.001, True)])
def test_intensity_window_boundary(later_s: float, goes_on: bool) -> None:
    world = world_of(intensity=Intensity(1, 5.0)).started()
    world.exits("b")
    world.now += later_s
    world.exits("b")
    assert (world.ending is None) is goes_on


def test_intensity_counts_children_together() -> None:
    world = world_of(intensity=Intensity(1, 5.0)).started()
    world.exits("a")
    world.exits("b")
    assert isinstance(world.ending, Escalate)


def test_intensity_does_not_count_ends_that_need_no_restart() -> None:
    world = world_of(restart=Restart.TRANSIENT, intensity=Intensity(0, 5.0)).started()
    world.exits("b", ENDED_NORMALLY)
    assert world.ending is None


# --- restarts that fail, and back-off -------------------------------------------------------------


@pytest.mark.parametrize("strategy", Strategy)
def test_restart_that_fails_counts_toward_intensity(strategy: Strategy) -> None:
    world = world_of(strategy, intensity=Intensity(3, 5.0)).started()
    world.unstartable = {"b"}
    world.exits("b")
    assert isinstance(world.ending, Escalate)
    assert [step for step in world.trace if step == "start b"] == ["start b"] * 3


def test_one_for_one_failed_restart_is_tried_again_after_back_off() -> None:
    world = world_of(backoff=Backoff()).started()
    world.unstartable = {"b"}
    world.exits("b")
    assert world.taken() == ["start b", "timer b"]
    world.exits("c")
    assert world.taken() == ["start c"]
    world.unstartable = set()
    world.fire()
    assert world.taken() == ["start b"]
    assert set(world.running) == set("abcd")


@pytest.mark.parametrize(
    ("strategy", "stops", "starts"),
    [(ALL, ["stop b", "stop a"], "abcd"), (REST, [], "cd")],
)
def test_group_failed_restart_is_tried_again_from_the_one_that_failed(
    strategy: Strategy, stops: list[str], starts: str
) -> None:
    world = world_of(strategy, backoff=Backoff(min_s=0.5)).started()
    world.unstartable = {"c"}
    world.exits("b")
    world.taken()
    world.fire()
    assert world.taken()[-1 - len(stops) :] == [*stops, "timer c"]
    world.unstartable = set()
    world.fire()
    assert world.taken() == [f"start {name}" for name in starts]
    assert set(world.running) == set("abcd")


@pytest.mark.parametrize(
    ("strategy", "stops"), [(ALL, ["stop d", "stop c", "stop a"]), (REST, ["stop d", "stop c"])]
)
def test_group_stops_first_and_starts_after_the_back_off(
    strategy: Strategy, stops: list[str]
) -> None:
    world = world_of(strategy, backoff=Backoff(min_s=2.0)).started()
    before = world.now
    world.exits("b")
    assert world.taken() == [*stops, "timer b"]
    world.fire()
    assert world.now == before + 2.0
    assert set(world.running) == set("abcd")


def test_group_back_off_that_passes_during_the_stops_needs_no_timer() -> None:
    world = world_of(ALL, names="ab", backoff=Backoff(min_s=2.0)).started()
    world.answers = False
    world.exits("b")
    world.now += 2.0
    world.answer_stop("a")
    assert world.taken() == ["stop a", "start a"]


def test_back_off_grows_with_consecutive_restarts() -> None:
    world = world_of(backoff=Backoff(min_s=1.0, max_s=4.0)).started()
    delays_s = []
    for _ in range(4):
        before = world.now
        world.exits("b")
        world.fire()
        delays_s.append(world.now - before)
    assert delays_s == [1.0, 2.0, 4.0, 4.0]
    assert world.core.child("b").restarts == 4


@pytest.mark.parametrize(("ran_s", "delay_s"), [(3.999, 2.0), (4.0, 1.0)])
def test_back_off_starts_over_once_a_child_has_run_for_max_s(ran_s: float, delay_s: float) -> None:
    world = world_of(backoff=Backoff(min_s=1.0, max_s=4.0)).started()
    world.exits("b")
    world.fire()
    world.now = world.now + ran_s
    before = world.now
    world.exits("b")
    world.fire()
    assert world.now - before == pytest.approx(delay_s)


def test_back_off_jitter_uses_the_given_random_number() -> None:
    spec = spec_of(backoff=Backoff(min_s=1.0, jitter=0.2))
    world = World(spec, [ChildSpec("a")], random=lambda: 0.5).started()
    world.exits("a")
    assert list(world.timers.values()) == [pytest.approx(world.now + 0.9)]


def test_back_off_goes_on_growing_when_restarts_fail_after_a_long_run() -> None:
    """Only the last run may reset the back-off, not a run before a failed start."""
    world = world_of(backoff=Backoff(min_s=1.0, max_s=4.0)).started()
    world.exits("b")
    world.fire()
    world.now += 100.0
    world.unstartable = {"b"}
    world.exits("b")
    delays_s = []
    for _ in range(3):
        before = world.now
        world.fire()
        delays_s.append(world.now - before)
    assert delays_s == [1.0, 2.0, 4.0]
