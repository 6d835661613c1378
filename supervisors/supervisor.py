"""The shell of a supervisor: gives events to the core and has its decisions performed.

It is a `SupervisorPort`. The runner may report an event while it performs an effect (an
actor without a start hook is started at once); such events wait until the effects before
them are done, so the core always sees them in order.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, assert_never

from callboard.messages.lifecycle import Exit
from callboard.messages.ports import ChildRunner, Clock, TimerHandle
from callboard.messages.spec import ChildId, ChildSpec, SupervisorSpec

from .core import SupervisorCore
from .effects import (
    CancelTimer,
    ChildGone,
    Effect,
    Effects,
    Escalate,
    SetTimer,
    StartChild,
    StopChild,
    SupervisorStarted,
    SupervisorStopped,
)

__all__ = ["Supervisor"]


class Supervisor:
    """One running supervisor; see `SupervisorPort` for what the methods promise."""

    __slots__ = ("_clock", "_performing", "_runner", "_timers", "_waiting", "core")

    def __init__(
        self,
        spec: SupervisorSpec,
        runner: ChildRunner,
        clock: Clock,
        random: Callable[[], float],
        children: Iterable[ChildSpec] = (),
    ) -> None:
        self.core: Final = SupervisorCore(spec, random, children)
        self._runner = runner
        self._clock = clock
        self._timers: dict[tuple[ChildId, int], TimerHandle] = {}
        self._waiting: deque[Effect] = deque()
        self._performing = False

    def start(self) -> None:
        """Begin; initial children are started in order."""
        self._perform(self.core.start(self._clock.now()))

    def add_child(self, spec: ChildSpec, child: ChildId = None) -> None:
        """Start one more child."""
        self._perform(self.core.add_child(spec, self._clock.now(), child))

    def adopt_child(self, spec: ChildSpec, incarnation: int, child: ChildId = None) -> None:
        """Take over a child that runs already."""
        self._perform(self.core.adopt_child(spec, incarnation, self._clock.now(), child))

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """The start succeeded."""
        self._perform(self.core.child_started(child, incarnation, self._clock.now()))

    def child_start_failed(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The start failed."""
        self._perform(self.core.child_start_failed(child, incarnation, reason, self._clock.now()))

    def child_exited(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """A started child ended."""
        self._perform(self.core.child_exited(child, incarnation, reason, self._clock.now()))

    def remove_child(self, child: ChildId) -> None:
        """Stop and forget a child; nothing happens when there is none."""
        if child in self.core:
            self._perform(self.core.remove_child(child, self._clock.now()))

    def stop(self) -> None:
        """Stop all children in reverse order."""
        self._perform(self.core.stop(self._clock.now()))

    def child(self, child: ChildId) -> Any:
        """One child as the core shows it."""
        return self.core.child(child)

    def statistics(self) -> Any:
        """The core's statistics."""
        return self.core.statistics()

    def _perform(self, effects: Effects) -> None:
        if not effects:
            return
        if self._performing:
            self._waiting.extend(effects)
            return
        self._performing = True
        try:
            for effect in effects:
                self._do(effect)
            while self._waiting:
                self._do(self._waiting.popleft())
        finally:
            self._performing = False

    def _do(self, effect: Effect) -> None:
        runner = self._runner
        match effect:
            case StartChild(child, incarnation, spec):
                runner.start_child(child, incarnation, spec)
            case StopChild(child, incarnation, timeout, reason):
                runner.stop_child(child, incarnation, timeout, reason)
            case SetTimer(child, incarnation, at_s):
                self._timers[child, incarnation] = runner.set_timer(
                    at_s, lambda: self._fire(child, incarnation)
                )
            case CancelTimer(child, incarnation):
                timer = self._timers.pop((child, incarnation), None)
                if timer is not None:
                    timer.cancel()
            case ChildGone(child, reason):
                runner.child_gone(child, reason)
            case SupervisorStarted():
                pass
            case SupervisorStopped(reason) | Escalate(reason):
                for timer in self._timers.values():
                    timer.cancel()
                self._timers.clear()
                runner.supervisor_stopped(reason)
            case _:
                assert_never(effect)

    def _fire(self, child: ChildId, incarnation: int) -> None:
        self._timers.pop((child, incarnation), None)
        self._perform(self.core.timer_fired(child, incarnation, self._clock.now()))
