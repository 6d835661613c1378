"""The shell: it performs effects in order, and lets other actors run between them."""

from collections import deque
from collections.abc import Callable, Sequence

import pytest

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildId, ChildSpec, StopTimeout, SupervisorSpec
from callboard.messages.ports import TimerHandle
from callboard.supervisors.supervisor import EFFECTS_AT_ONCE, Supervisor

CHILDREN = 2 * EFFECTS_AT_ONCE + 10


class Timer:
    def cancel(self) -> None:
        """Nothing is ever cancelled here."""


class Runner:
    """Performs everything at once, and its timers when the test says so."""

    def __init__(self) -> None:
        self.supervisor: Supervisor | None = None
        self.stopped: list[ChildId] = []
        self.ended: list[Exit] = []
        self.timers: deque[Callable[[], None]] = deque()

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        assert self.supervisor is not None
        self.supervisor.child_started(child, incarnation)

    def start_children(
        self, children: Sequence[ChildId], first_incarnation: int, spec: ChildSpec
    ) -> None:
        assert self.supervisor is not None
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
        assert self.supervisor is not None
        self.stopped.append(child)
        self.supervisor.child_exited(child, incarnation, reason)

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        pytest.fail("no child is removed")

    def supervisor_started(self) -> None:
        """It has no initial children."""

    def supervisor_stopped(self, reason: Exit) -> None:
        self.ended.append(reason)

    def set_timer(self, at_s: float, callback: Callable[[], None]) -> TimerHandle:
        self.timers.append(callback)
        return Timer()


class Clock:
    def now(self) -> float:
        return 0.0


def _children() -> tuple[Supervisor, Runner]:
    runner = Runner()
    runner.supervisor = supervisor = Supervisor(SupervisorSpec(), runner, Clock(), lambda: 0.5)
    supervisor.start()
    spec = ChildSpec("child")
    for number in range(1, CHILDREN + 1):
        supervisor.add_child(spec, number)
    return supervisor, runner


def test_a_long_stop_lets_other_actors_run_and_keeps_its_order() -> None:
    supervisor, runner = _children()
    supervisor.stop()
    turns = 0
    while not runner.ended:
        assert len(runner.stopped) < (turns + 1) * EFFECTS_AT_ONCE + 1
        assert supervisor.statistics().state == "stopping", "it answers queries meanwhile"
        runner.timers.popleft()()
        turns += 1
    assert turns == 2
    assert runner.stopped == list(range(CHILDREN, 0, -1))
    assert len(runner.ended) == 1


def test_an_abandoned_supervisor_performs_nothing_more() -> None:
    supervisor, runner = _children()
    supervisor.stop()
    before = len(runner.stopped)
    supervisor.abandon()
    while runner.timers:
        runner.timers.popleft()()
    assert len(runner.stopped) == before
    assert not runner.ended
