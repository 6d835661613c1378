"""The shell's timers of back-offs: each is set once, and none outlives what it is for."""

from collections.abc import Callable, Sequence
from typing import Final

import pytest

from callboard.messages.control.lifecycle import Exit, ExitReason
from callboard.messages.control.spec import (
    Backoff,
    ChildId,
    ChildSpec,
    Intensity,
    StopTimeout,
    SupervisorSpec,
)
from callboard.supervisors.supervisor import Supervisor

CRASH: Final = Exit(ExitReason.FAILED, {"message": "boom"})
SPEC: Final = SupervisorSpec(
    intensity=Intensity(restarts=3, period_s=100.0), backoff=Backoff(min_s=1.0, jitter=0.0)
)


class Timer:
    def __init__(self, at_s: float, callback: Callable[[], None]) -> None:
        self.at_s, self.callback = at_s, callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Runner:
    """Starts everything at once; the clock, and children that stop, wait for the test."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(SPEC, self, self, lambda: 0.0)
        self.now_s = 10.0
        self.running: dict[ChildId, int] = {}
        self.starts: list[ChildId] = []
        self.stopping: list[tuple[ChildId, int]] = []
        self.timers: list[Timer] = []
        self.gone: list[ChildId] = []
        self.events: list[str] = []

    def now(self) -> float:
        return self.now_s

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        self.running[child] = incarnation
        self.starts.append(child)
        self.supervisor.child_started(child, incarnation)

    def start_children(
        self, children: Sequence[ChildId], first_incarnation: int, spec: ChildSpec
    ) -> None:
        for incarnation, child in enumerate(children, first_incarnation):
            self.running[child] = incarnation
            self.starts.append(child)
        self.supervisor.children_started(children, first_incarnation)

    def stop_child(
        self,
        child: ChildId,
        incarnation: int,
        timeout: StopTimeout,
        reason: Exit,
        *,
        comes_back: bool = False,
    ) -> None:
        self.stopping.append((child, incarnation))

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        self.gone.append(child)

    def supervisor_started(self) -> None:
        self.events.append("started")

    def supervisor_stopped(self, reason: Exit) -> None:
        self.events.append(f"stopped: {reason.kind.value}")

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(at_s, callback)
        self.timers.append(timer)
        return timer

    # --- for the tests ------------------------------------------------------------------

    def crash(self, child: ChildId) -> None:
        self.supervisor.child_exited(child, self.running.pop(child), CRASH)

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]


@pytest.fixture
def runner() -> Runner:
    made = Runner()
    made.supervisor.expect_child(ChildSpec("a"))
    made.supervisor.start()
    made.supervisor.add_children(ChildSpec("b"), ["b", "c"])
    return made


def test_a_failed_child_starts_again_when_its_timer_fires(runner: Runner) -> None:
    assert (runner.events, runner.starts) == (["started"], ["a", "b", "c"])
    runner.crash("b")
    (timer,) = runner.timers
    assert timer.at_s == 11.0
    assert runner.starts == ["a", "b", "c"]
    runner.now_s = 11.0
    timer.callback()
    assert runner.starts == ["a", "b", "c", "b"]
    assert runner.supervisor._timers == {}
    # The timer of a start that was is nobody's.
    timer.callback()
    assert runner.starts == ["a", "b", "c", "b"]


def test_a_child_that_is_removed_meanwhile_has_no_timer_any_more(runner: Runner) -> None:
    runner.crash("b")
    runner.crash("c")
    assert len(runner.waiting) == 2
    runner.supervisor.remove_child("b")
    assert runner.gone == ["b"]
    assert [timer.is_cancelled for timer in runner.timers] == [True, False]
    assert len(runner.supervisor._timers) == 1
    runner.supervisor.remove_child("unknown")
    assert runner.gone == ["b"]


def test_a_supervisor_that_stops_or_gives_up_has_no_timer_any_more(runner: Runner) -> None:
    runner.crash("b")
    runner.supervisor.stop()
    while runner.stopping:
        runner.supervisor.child_exited(*runner.stopping.pop(), Exit(ExitReason.SHUTDOWN))
    assert runner.waiting == []
    assert runner.supervisor._timers == {}
    assert runner.events == ["started", "stopped: shutdown"]


def test_an_abandoned_supervisor_has_no_timer_and_hears_nothing(runner: Runner) -> None:
    runner.crash("b")
    runner.crash("c")
    runner.supervisor.abandon()
    assert runner.waiting == []
    assert runner.supervisor._timers == {}
    runner.crash("a")
    assert len(runner.timers) == 2
    assert runner.starts == ["a", "b", "c"]


def test_what_it_is_asked_for_goes_to_its_core(runner: Runner) -> None:
    supervisor = runner.supervisor
    supervisor.terminate_child("a")
    supervisor.child_exited(*runner.stopping.pop(), Exit(ExitReason.SHUTDOWN))
    assert supervisor.child("a").state.name == "DOWN"
    supervisor.restart_child("a")
    assert runner.starts[-1] == "a"
    supervisor.adopt_child(ChildSpec("d"), 77)
    assert supervisor.child("d").incarnation == 77
    assert [child for child, _ in supervisor.stop_timeouts()] == ["a", "b", "c", "d"]
    supervisor.add_child(ChildSpec("e"))
    supervisor.child_start_failed("e", 78, CRASH)
    runner.crash("b")
    assert [len(supervisor.history(name).entries) for name in "ab"] == [0, 1]
    newer = Runner().supervisor
    newer.inherit(supervisor)
    assert len(newer.history("b").entries) == 1
    assert newer.statistics().starts == supervisor.statistics().starts
