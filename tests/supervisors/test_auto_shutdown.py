"""Significant children: the exits that end a supervisor, and those that do not."""

import pytest

from callboard.messages.control.lifecycle import ENDED_NORMALLY, Exit, ExitReason
from callboard.messages.control.spec import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    Intensity,
    Restart,
    Strategy,
    SupervisorSpec,
)
from callboard.supervisors.effects import SupervisorStopped

from .world import CRASH, EXITS, World

ANY = AutoShutdown.ANY_SIGNIFICANT
ALL = AutoShutdown.ALL_SIGNIFICANT


def world_of(
    auto_shutdown: AutoShutdown,
    kind: Restart = Restart.TRANSIENT,
    strategy: Strategy = Strategy.ONE_FOR_ONE,
) -> World:
    """A permanent "a", then two significant children and an insignificant one."""
    children = [
        ChildSpec("a"),
        ChildSpec("b", restart=kind, significant=True),
        ChildSpec("c", restart=kind, significant=True),
        ChildSpec("d", restart=kind),
    ]
    spec = SupervisorSpec(strategy, Intensity(9, 5.0), Backoff(max_s=0.0), auto_shutdown)
    return World(spec, children).started()


def test_any_significant_transient_normal_stops_the_supervisor_in_reverse() -> None:
    world = world_of(ANY)
    world.exits("b", ENDED_NORMALLY)
    assert world.taken() == ["stop d", "stop c", "stop a", "stopped"]
    assert isinstance(world.ending, SupervisorStopped)
    assert world.ending.exit.kind is ExitReason.SHUTDOWN
    assert world.ending.exit.detail["cause"] == "auto_shutdown"


def test_any_significant_transient_abnormal_restarts() -> None:
    world = world_of(ANY)
    world.exits("b", CRASH)
    assert world.taken() == ["start b"]


@pytest.mark.parametrize("exit_", EXITS.values(), ids=EXITS)
def test_any_significant_temporary_any_exit_stops_the_supervisor(exit_: Exit) -> None:
    world = world_of(ANY, Restart.TEMPORARY)
    world.exits("b", exit_)
    assert world.taken() == ["gone b", "stop d", "stop c", "stop a", "stopped"]


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
def test_insignificant_child_does_not_stop_the_supervisor(auto_shutdown: AutoShutdown) -> None:
    world = world_of(auto_shutdown)
    world.exits("d", ENDED_NORMALLY)
    assert world.ending is None


def test_all_significant_waits_for_the_last_one() -> None:
    world = world_of(ALL)
    world.exits("b", ENDED_NORMALLY)
    assert world.ending is None
    world.exits("c", ENDED_NORMALLY)
    assert world.taken() == ["stop d", "stop a", "stopped"]


def test_all_significant_counts_dynamic_children() -> None:
    world = world_of(ALL)
    extra = ChildSpec("x", restart=Restart.TEMPORARY, significant=True)
    world.perform(world.core.add_child(extra, world.now))
    world.exits("b", ENDED_NORMALLY)
    world.exits("c", ENDED_NORMALLY)
    assert world.ending is None
    world.exits("x", CRASH)
    assert isinstance(world.ending, SupervisorStopped)


@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
def test_terminated_significant_child_does_not_stop_the_supervisor(
    auto_shutdown: AutoShutdown,
) -> None:
    """OTP: only children that end by themselves count."""
    world = world_of(auto_shutdown)
    world.perform(world.core.terminate_child("b", world.now))
    world.perform(world.core.remove_child("c", world.now))
    assert world.ending is None


@pytest.mark.parametrize("kind", [Restart.TRANSIENT, Restart.TEMPORARY])
def test_significant_sibling_taken_down_by_a_group_does_not_stop_the_supervisor(
    kind: Restart,
) -> None:
    world = world_of(ANY, kind, Strategy.ONE_FOR_ALL)
    world.exits("a")
    assert world.ending is None


def test_significant_child_restarted_by_hand_counts_again() -> None:
    world = world_of(ALL)
    world.exits("b", ENDED_NORMALLY)
    world.perform(world.core.restart_child("b", world.now))
    world.exits("c", ENDED_NORMALLY)
    assert world.ending is None
    world.exits("b", ENDED_NORMALLY)
    assert isinstance(world.ending, SupervisorStopped)
