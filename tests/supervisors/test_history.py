"""The histories of failed children, and the `comes_back` of stopped ones."""

import pytest

from callboard.messages.control.lifecycle import ENDED_NORMALLY, Exit, ExitReason
from callboard.messages.control.spec import Backoff, ChildSpec, Intensity, Restart, Strategy
from callboard.messages.core.errors import SpecError, UsageError
from callboard.supervisors.core import SupervisorCore
from callboard.supervisors.history import (
    CHILDREN_KEPT,
    ENTRIES_KEPT,
    GROUPS_KEPT,
    MEMBERS_KEPT,
    TEXT_CHARS_MAX,
    ChildHistories,
)
from callboard.supervisors.views import Decision

from .world import CRASH, PATIENT, World, spec_of, world_of


def decisions(world: World, child_id: str) -> list[Decision]:
    return [entry.decision for entry in world.core.history(child_id).entries]


def test_child_that_never_failed_has_no_history() -> None:
    world = world_of(restart=Restart.TRANSIENT).started()
    world.exits("b", ENDED_NORMALLY)
    assert world.core.history("b").entries == ()
    assert world.core.history("nobody").entries == ()


def test_history_has_each_exit_and_its_decision() -> None:
    world = world_of(intensity=Intensity(2, 60.0), backoff=Backoff(jitter=0.0)).started()
    world.exits("b", CRASH)
    world.now += 1
    world.exits("b", Exit(ExitReason.KILLED))
    world.fire()
    world.exits("b", CRASH)
    first, second, third = world.core.history("b").entries
    assert (first.at_s, first.kind, first.message) == (100.0, ExitReason.FAILED, "boom")
    assert (first.decision, first.delay_s) == (Decision.RESTARTED, 0.0)
    assert second.kind is ExitReason.KILLED
    assert second.delay_s == pytest.approx(0.1)
    assert first.incarnation < second.incarnation < third.incarnation
    assert third.decision is Decision.GAVE_UP


@pytest.mark.parametrize(
    ("strategy", "kind", "decision"),
    [
        (Strategy.ONE_FOR_ALL, Restart.PERMANENT, Decision.RESTARTED_GROUP),
        (Strategy.ONE_FOR_ONE, Restart.TEMPORARY, Decision.FORGOTTEN),
    ],
)
def test_history_says_group_and_forgotten(
    strategy: Strategy, kind: Restart, decision: Decision
) -> None:
    world = world_of(strategy, kind).started()
    world.exits("b", CRASH)
    assert decisions(world, "b") == [decision]


@pytest.mark.parametrize(
    ("strategy", "taken_along"),
    [(Strategy.ONE_FOR_ALL, "ac"), (Strategy.REST_FOR_ONE, "c"), (Strategy.ONE_FOR_ONE, "")],
)
def test_members_of_a_group_know_the_sibling_that_failed(
    strategy: Strategy, taken_along: str
) -> None:
    world = world_of(strategy, intensity=Intensity(9, 60.0)).started()
    for _ in range(2):
        world.exits("b", CRASH)
        world.now += 1
    (_, failed) = world.core.history("b").entries
    for child in "ac":
        entries = world.core.history(child).entries
        if child not in taken_along:
            assert (entries, world.core.child(child).group_restarts) == ((), 0)
            continue
        assert (world.core.child(child).group_restarts, world.core.child(child).restarts) == (2, 0)
        assert [entry.sibling for entry in entries] == ["b", "b"]
        assert [entry.decision for entry in entries] == [Decision.RESTARTED_AS_MEMBER] * 2
        assert entries[1].at_s == failed.at_s
        assert (entries[1].message, entries[1].incarnation) == ("boom", failed.incarnation)
    assert world.core.child("b").group_restarts == 0


def test_a_temporary_member_ends_because_of_its_sibling() -> None:
    world = world_of(Strategy.ONE_FOR_ALL).started()
    world.perform(world.core.add_child(ChildSpec("once", restart=Restart.TEMPORARY), world.now))
    world.exits("b", CRASH)
    assert decisions(world, "once") == [Decision.ENDED_AS_MEMBER]
    assert "once" not in world.core


def test_a_member_that_waits_for_its_group_is_counted_once() -> None:
    patient = Backoff(jitter=0.0)
    world = world_of(Strategy.REST_FOR_ONE, intensity=PATIENT, backoff=patient).started()
    world.exits("b", CRASH)
    world.exits("b", CRASH)  # Now b and c wait for the back-off.
    world.exits("a", CRASH)  # The new group takes them over.
    assert [entry.sibling for entry in world.core.history("c").entries] == ["b", "b"]
    assert world.core.child("c").group_restarts == 2
    assert set(world.running) == set("abcd")


def test_a_group_removes_no_history_of_a_child_that_failed() -> None:
    histories = ChildHistories()
    histories.record("culprit", 1, Exit(ExitReason.FAILED), 1.0, Decision.RESTARTED_GROUP)
    for number in range(GROUPS_KEPT + 1):
        histories.record("b", number, Exit(ExitReason.FAILED), 2.0 + number, Decision.RESTARTED)
        members = ((child, True) for child in range(MEMBERS_KEPT + 1))
        histories.record_group("b", [("last", True)] if number == GROUPS_KEPT else members)
    assert len(histories.of("culprit").entries) == 1
    assert histories.of("last").entries[0].at_s == 2.0 + GROUPS_KEPT
    assert histories.of(0).entries == ()  # One of the older groups, which had to go.
    assert histories.of(MEMBERS_KEPT).entries == ()


def test_history_of_a_first_start_that_failed() -> None:
    world = world_of()
    world.unstartable.add("c")
    world.start()
    assert decisions(world, "c") == [Decision.START_UNDONE]


def test_history_is_bounded() -> None:
    histories = ChildHistories()
    long = Exit(ExitReason.FAILED, {"message": "m", "details": {"remote_traceback": "x" * 99_999}})
    for number in range(CHILDREN_KEPT + 3):
        for incarnation in range(ENTRIES_KEPT + 2 if number > CHILDREN_KEPT else 1):
            histories.record(number, incarnation, long, 1.0, Decision.RESTARTED)
    assert histories.of(0).entries == ()
    assert len(histories.of(3).entries) == 1
    newest = histories.of(CHILDREN_KEPT + 2).entries
    assert [entry.incarnation for entry in newest] == list(range(2, ENTRIES_KEPT + 2))
    assert len(newest[0].traceback) == TEXT_CHARS_MAX


def test_history_of_an_escalation_names_its_first_cause() -> None:
    world = world_of(intensity=Intensity(0, 1.0)).started()
    cause = Exit(ExitReason.FAILED, {"message": "boom", "details": {"remote_traceback": "T"}})
    world.exits("b", cause)
    assert world.ending is not None
    above = World(spec_of(), [ChildSpec("inner")]).started()
    above.exits("inner", world.ending.exit)
    (entry,) = above.core.history("inner").entries
    assert entry.kind is ExitReason.SHUTDOWN
    assert entry.message == "restart_intensity_exceeded of child b: boom"
    assert entry.traceback == "T"


def test_next_core_inherits_histories_and_takes_new_incarnations() -> None:
    world = world_of().started()
    world.exits("b", CRASH)
    heir = SupervisorCore(spec_of(), lambda: 0.0, [ChildSpec("b")])
    heir.inherit(world.core)
    (start,) = heir.start(0.0)
    assert heir.history("b") == world.core.history("b")
    assert start.incarnation > world.core.child("b").incarnation  # type: ignore[union-attr]


def test_stop_says_whether_the_child_comes_back() -> None:
    world = world_of(Strategy.ONE_FOR_ALL, Restart.TEMPORARY).started()
    world.exits("c", CRASH)
    assert [(stop.id, stop.comes_back) for stop in world.stops] == [
        ("d", True), ("b", False), ("a", True),
    ]  # fmt: skip
    world.stops.clear()
    world.perform(world.core.terminate_child("a", world.now))
    world.perform(world.core.stop(world.now))
    assert not any(stop.comes_back for stop in world.stops)


def test_child_with_its_own_back_off_waits_for_that() -> None:
    own = ChildSpec("a", backoff=Backoff(min_s=7.0, jitter=0.0))
    world = World(spec_of(intensity=PATIENT), [own, ChildSpec("b")]).started()
    world.exits("a", CRASH)
    world.exits("b", CRASH)
    assert world.taken() == ["timer a", "start b"]
    assert set(world.timers.values()) == {world.now + 7.0}


def test_group_waits_as_long_as_the_child_that_ended() -> None:
    own = ChildSpec("a", backoff=Backoff(min_s=7.0, jitter=0.0))
    world = World(spec_of(Strategy.ONE_FOR_ALL), [own, ChildSpec("b")]).started()
    world.exits("a", CRASH)
    assert world.taken() == ["stop b", "timer a"]
    world.fire()
    assert world.taken() == ["start a", "start b"]


def test_wrong_back_off_of_a_child_is_refused() -> None:
    with pytest.raises(SpecError, match=r"ChildSpec\.backoff"):
        ChildSpec("a", backoff=1.0)  # type: ignore[arg-type]


def test_initial_child_after_the_start_is_refused() -> None:
    world = world_of().started()
    with pytest.raises(UsageError, match="no initial child"):
        world.core.expect_child(ChildSpec("late"))
