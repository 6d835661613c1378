"""Children added together behave like children added one by one."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import (
    AutoShutdown,
    ChildSpec,
    Restart,
    Strategy,
    SupervisorSpec,
)
from callboard.messages.core.errors import SpecError, UsageError
from callboard.supervisors.core import SupervisorCore
from callboard.supervisors.effects import StartChildren, StopChild

CRASH = Exit(ExitReason.FAILED)
FAILED_START = Exit(ExitReason.START_FAILED)


def running(spec: SupervisorSpec, children: Sequence[ChildSpec] = ()) -> SupervisorCore:
    core = SupervisorCore(spec, lambda: 0.5, children)
    core.start(0.0)
    for child in children:
        core.child_started(child.id, core.child(child.id).incarnation, 0.0)
    return core


@given(
    count=st.integers(1, 8),
    failing=st.sets(st.integers(0, 7)),
    restart=st.sampled_from(Restart),
    strategy=st.sampled_from(Strategy),
    exits=st.lists(st.integers(0, 7), max_size=4),
)
def test_adding_many_is_adding_each(
    count: int, failing: set[int], restart: Restart, strategy: Strategy, exits: list[int]
) -> None:
    spec, child = SupervisorSpec(strategy), ChildSpec("alike", restart=restart)
    together, single = running(spec), running(spec)
    ids = list(range(count))
    (start,) = together.add_children(child, ids, 1.0)
    assert start == StartChildren(ids, 1, child)
    for number in ids:
        single.add_child(child, 1.0, number)
    for incarnation, number in enumerate(ids, 1):
        if number in failing:
            ends = [
                c.child_start_failed(number, incarnation, FAILED_START, 1.0)
                for c in (together, single)
            ]
            assert ends[0] == ends[1]
        else:
            single.child_started(number, incarnation, 1.0)
    assert together.children_started(ids, 1, 1.0) == ()
    for moment, number in enumerate(exits, 2):
        if number in together:
            incarnation = together.child(number).incarnation
            assert single.child(number).incarnation == incarnation
            ends = [
                c.child_exited(number, incarnation, CRASH, float(moment))
                for c in (together, single)
            ]
            assert ends[0] == ends[1]
    for core in (together, single):
        core.validate_state()
    assert list(together.children()) == list(single.children())
    assert together.statistics() == single.statistics()
    assert together.stop(99.0) == single.stop(99.0)


def test_they_stop_in_reverse_of_their_order() -> None:
    core = running(SupervisorSpec(), [ChildSpec("first")])
    core.add_children(ChildSpec("alike"), [7, 5, 6], 0.0)
    core.children_started([7, 5, 6], 2, 0.0)
    stopped = []
    effects = core.stop(1.0)
    while effects and isinstance(effects[0], StopChild):
        stopped.append(effects[0].id)
        effects = core.child_exited(effects[0].id, effects[0].incarnation, CRASH, 1.0)
    assert stopped == [6, 5, 7, "first"]


def test_during_a_sequence_they_wait_for_their_turn() -> None:
    core = SupervisorCore(SupervisorSpec(), lambda: 0.5, [ChildSpec("first")])
    (start,) = core.start(0.0)
    assert core.add_children(ChildSpec("alike"), [1, 2], 0.0) == ()
    (one,) = core.child_started("first", start.incarnation, 0.0)  # type: ignore[union-attr]
    assert (one.id, core.child(2).incarnation) == (1, 0)  # type: ignore[union-attr]


@pytest.mark.parametrize("ids", [[3, 3], [2, 1], [1]])
def test_an_id_in_use_refuses_all_of_them(ids: list[int]) -> None:
    core = running(SupervisorSpec(), [ChildSpec(1)])
    with pytest.raises(SpecError, match="in use"):
        core.add_children(ChildSpec("alike"), ids, 0.0)
    assert [view.id for view in core.children()] == [1]


def test_without_room_for_all_there_is_none() -> None:
    core = running(SupervisorSpec(children_max=3), [ChildSpec(1)])
    with pytest.raises(UsageError, match="no room"):
        core.add_children(ChildSpec("alike"), [2, 3, 4], 0.0)
    assert [view.id for view in core.children()] == [1]
    core.add_children(ChildSpec("alike"), [2, 3], 0.0)
    assert len(list(core.children())) == 3


def test_significant_ones_need_a_supervisor_that_ends_with_them() -> None:
    child = ChildSpec("alike", restart=Restart.TRANSIENT, significant=True)
    with pytest.raises(SpecError, match="significant"):
        running(SupervisorSpec()).add_children(child, [1, 2], 0.0)
    core = running(SupervisorSpec(auto_shutdown=AutoShutdown.ALL_SIGNIFICANT))
    core.add_children(child, [1, 2], 0.0)
    core.children_started([1, 2], 1, 0.0)
    core.validate_state()


def test_reports_of_an_older_incarnation_are_ignored() -> None:
    core = running(SupervisorSpec())
    core.add_children(ChildSpec("alike"), [1, 2], 0.0)
    core.children_started([1, 2], 5, 0.0)
    assert core.statistics().running == 0


def test_none_at_all_is_nothing() -> None:
    core = running(SupervisorSpec())
    assert core.add_children(ChildSpec("alike"), [], 0.0) == ()
    assert core.statistics().running == 0
