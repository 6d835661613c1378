"""Children that are added: how many fit, and whom the error names."""

import pytest

from callboard.messages.control.lifecycle import ENDED_NORMALLY
from callboard.messages.control.spec import ChildSpec, Intensity, Restart
from callboard.messages.core.errors import SpecError, UsageError
from callboard.supervisors.core import SupervisorCore
from callboard.supervisors.views import Decision

from .world import CRASH, spec_of


def running(children_max: int = 3) -> SupervisorCore:
    core = SupervisorCore(spec_of(children_max=children_max), lambda: 0.0)
    core.start(0.0)
    core.add_child(ChildSpec("a"), 0.0)
    return core


def test_as_many_children_fit_as_there_is_room_for_and_the_last_one_is_named() -> None:
    core = running()
    with pytest.raises(UsageError, match="no room for 'z'"):
        core.add_children(ChildSpec("t"), ["x", "y", "z"], 1.0)
    assert len(core) == 1
    core.add_children(ChildSpec("t"), ["x", "y"], 1.0)
    assert len(core) == 3
    with pytest.raises(UsageError, match="no room for 'v'"):
        core.add_children(ChildSpec("t"), ["v", "w"], 1.0)
    core.validate_state()


def test_a_spec_that_does_not_fit_names_the_first() -> None:
    with pytest.raises(SpecError, match="'x'"):
        running().add_children(
            ChildSpec("t", restart=Restart.TEMPORARY, significant=True), ["x", "y"], 1.0
        )


def test_an_id_that_comes_twice_is_named() -> None:
    core = running(9)
    with pytest.raises(SpecError, match="'y' is in use"):
        core.add_children(ChildSpec("t"), ["x", "y", "y"], 1.0)
    with pytest.raises(SpecError, match="'a' is in use"):
        core.add_children(ChildSpec("t"), ["x", "a"], 1.0)
    assert len(core) == 1


@pytest.mark.parametrize("incarnation", [0, -1, 1])
def test_a_child_is_adopted_with_an_incarnation_that_nobody_has(incarnation: int) -> None:
    core = running()
    with pytest.raises(UsageError, match="cannot be adopted"):
        core.adopt_child(ChildSpec("b"), incarnation, 1.0)
    core.adopt_child(ChildSpec("b"), 2, 1.0)
    assert core.child("b").incarnation == 2


def test_a_history_has_the_wait_of_each_restart_and_none_of_an_end() -> None:
    spec = spec_of(intensity=Intensity(restarts=1, period_s=9.0))
    core = SupervisorCore(spec, lambda: 0.0)
    core.start(0.0)
    core.add_child(ChildSpec("a", restart=Restart.PERMANENT), 0.0)
    core.add_child(ChildSpec("b", restart=Restart.TEMPORARY), 0.0)
    core.child_started("a", 1, 0.0)
    core.child_started("b", 2, 0.0)
    core.child_exited("b", 2, CRASH, 1.0)
    core.child_exited("a", 1, CRASH, 1.0)
    core.child_started("a", 3, 1.0)
    core.child_exited("a", 3, ENDED_NORMALLY, 2.0)
    first, second = core.history("a").entries
    (forgotten,) = core.history("b").entries
    assert (first.decision, second.decision) == (Decision.RESTARTED, Decision.GAVE_UP)
    assert forgotten.decision is Decision.FORGOTTEN
    assert [entry.delay_s for entry in (first, second, forgotten)] == [0.0, 0.0, 0.0]
