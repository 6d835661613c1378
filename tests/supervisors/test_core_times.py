"""The supervisor core's statistics know when the last event was, whichever it was."""

from callboard.messages.control.lifecycle import ENDED_NORMALLY
from callboard.messages.control.spec import Backoff, ChildSpec, Restart
from callboard.supervisors.core import SupervisorCore
from callboard.supervisors.tree import ChildState

from .world import CRASH, START_FAILED, spec_of


def test_every_event_is_the_last_one_for_now() -> None:
    backoff = Backoff(min_s=1.0)
    core = SupervisorCore(spec_of(backoff=backoff), lambda: 0.0, [ChildSpec("a")])
    permanent = ChildSpec("permanent", restart=Restart.PERMANENT)
    events = (
        core.start,
        lambda now: core.child_started("a", 1, now),
        lambda now: core.add_child(permanent, now, "b"),
        lambda now: core.child_start_failed("b", 2, START_FAILED, now),
        lambda now: core.add_children(permanent, ["c", "d"], now),
        lambda now: core.children_started(["c", "d"], 3, now),
        lambda now: core.adopt_child(permanent, 9, now, "e"),
        lambda now: core.child_exited("c", 3, CRASH, now),
        lambda now: core.timer_fired("c", 3, now),
        lambda now: core.terminate_child("d", now),
        lambda now: core.child_exited("d", 4, ENDED_NORMALLY, now),
        lambda now: core.restart_child("d", now),
        lambda now: core.remove_child("e", now),
        lambda now: core.add_children(permanent, [], now),
        core.stop,
    )
    for now, event in enumerate(events, 1):
        event(float(now))
        assert core.statistics().last_event_at_s == now
        core.validate_state()


def test_an_adopted_child_counts_as_running_and_its_incarnation_as_used() -> None:
    core = SupervisorCore(spec_of(), lambda: 0.0)
    core.start(0.0)
    core.adopt_child(ChildSpec("a"), 7, 1.0)
    core.adopt_child(ChildSpec("b", restart=Restart.TRANSIENT), 5, 1.0)
    statistics = core.statistics()
    assert (statistics.running, statistics.starts) == (2, 7)
    assert core.child("a").state is ChildState.RUNNING
    core.add_child(ChildSpec("c"), 2.0)
    assert core.child("c").incarnation == 8
    # It is as dynamic as any that was added: forgotten once it has ended for good.
    core.child_exited("b", 5, ENDED_NORMALLY, 3.0)
    assert "b" not in core
    core.validate_state()
