"""The shell of a supervisor: it passes events to the core, and effects to the runner.

It is a `SupervisorPort`. The runner may report an event while it performs an effect (an actor
without a start hook runs at once). The effects of such an event wait until those before them
are done, so the order stays the core's.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, assert_never

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildId, ChildSpec, StopTimeout, SupervisorSpec
from callboard.messages.ports import ChildRunner, Clock, SupervisorPort, TimerHandle

from .core import SupervisorCore
from .effects import (
    CancelTimer,
    ChildGone,
    Effect,
    Effects,
    Escalate,
    SetTimer,
    StartChild,
    StartChildren,
    StopChild,
    SupervisorStarted,
    SupervisorStopped,
)

__all__ = ["Supervisor"]

EFFECTS_AT_ONCE: Final = 2_000
"""About 40 ms where it was measured: other actors of the host wait no longer for a turn."""


class Supervisor:
    """One running supervisor; see `SupervisorPort` for what the methods promise."""

    __slots__ = ("_clock", "_is_abandoned", "_performing", "_runner", "_timers", "_waiting", "core")

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
        self._is_abandoned = False

    def expect_child(self, spec: ChildSpec) -> None:
        """Add a child for `start` to start."""
        self.core.expect_child(spec)

    def start(self) -> None:
        """Start the initial children, in order."""
        self._perform(self.core.start(self._clock.now()))

    def add_child(self, spec: ChildSpec, child: ChildId = None) -> None:
        """Start one more child."""
        self._perform(self.core.add_child(spec, self._clock.now(), child))

    def add_children(self, spec: ChildSpec, children: Sequence[ChildId]) -> None:
        """Start more children that share a spec."""
        self._perform(self.core.add_children(spec, children, self._clock.now()))

    def adopt_child(self, spec: ChildSpec, incarnation: int, child: ChildId = None) -> None:
        """Adopt a child that already runs."""
        self._perform(self.core.adopt_child(spec, incarnation, self._clock.now(), child))

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """The start succeeded."""
        effects = self.core.child_started(child, incarnation, self._clock.now())
        if effects:
            self._perform(effects)

    def children_started(self, children: Sequence[ChildId], first_incarnation: int) -> None:
        """These starts succeeded."""
        effects = self.core.children_started(children, first_incarnation, self._clock.now())
        if effects:
            self._perform(effects)

    def child_start_failed(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The start failed."""
        self._perform(self.core.child_start_failed(child, incarnation, reason, self._clock.now()))

    def child_exited(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """A started child ended."""
        self._perform(self.core.child_exited(child, incarnation, reason, self._clock.now()))

    def remove_child(self, child: ChildId) -> None:
        """Stop and forget a child, if it exists."""
        if child in self.core:
            self._perform(self.core.remove_child(child, self._clock.now()))

    def terminate_child(self, child: ChildId) -> None:
        """Stop a child and keep its spec."""
        self._perform(self.core.terminate_child(child, self._clock.now()))

    def restart_child(self, child: ChildId) -> None:
        """Start a child that is down."""
        self._perform(self.core.restart_child(child, self._clock.now()))

    def stop(self) -> None:
        """Stop all children in reverse order."""
        self._perform(self.core.stop(self._clock.now()))

    def abandon(self) -> None:
        """Perform nothing more: the children were killed. Cancels the timers."""
        self._is_abandoned = True
        self._waiting.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def child(self, child: ChildId) -> Any:
        """The core's view of one child."""
        return self.core.child(child)

    def stop_timeouts(self) -> Iterable[tuple[ChildId, StopTimeout]]:
        """How long each child may take to stop."""
        return self.core.stop_timeouts()

    def history(self, child: ChildId) -> Any:
        """The `ChildHistory` of one child."""
        return self.core.history(child)

    def inherit(self, other: SupervisorPort) -> None:
        """Continue the histories that another supervisor has of the same children."""
        assert isinstance(other, Supervisor), "made by the same factory"
        self.core.inherit(other.core)

    def statistics(self) -> Any:
        """The core's statistics."""
        return self.core.statistics()

    def _perform(self, effects: Effects) -> None:
        if not effects or self._is_abandoned:
            return
        self._waiting.extend(effects)
        if not self._performing:
            self._perform_waiting()

    def _perform_waiting(self) -> None:
        """Perform waiting effects; after `EFFECTS_AT_ONCE` of them, let other actors run first.

        Stopping 100,000 children takes seconds. Queries about the supervisor, and other actors
        of its host, must not wait so long.
        """
        self._performing = True
        try:
            for _ in range(EFFECTS_AT_ONCE):
                if not self._waiting:  # An effect may add more, or end everything.
                    break
                self._perform_one(self._waiting.popleft())
        finally:
            self._performing = False
        if self._waiting:
            self._performing = True
            self._runner.set_timer(self._clock.now(), self._perform_waiting)

    def _perform_one(self, effect: Effect) -> None:
        runner = self._runner
        match effect:
            case StartChild(child, incarnation, spec):
                runner.start_child(child, incarnation, spec)
            case StartChildren(children, first, spec):
                runner.start_children(children, first, spec)
            case StopChild(child, incarnation, timeout, reason, comes_back):
                runner.stop_child(child, incarnation, timeout, reason, comes_back=comes_back)
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
                runner.supervisor_started()
            case SupervisorStopped(reason) | Escalate(reason):
                runner.supervisor_stopped(reason)
            case _:
                assert_never(effect)

    def _fire(self, child: ChildId, incarnation: int) -> None:
        self._timers.pop((child, incarnation), None)
        self._perform(self.core.timer_fired(child, incarnation, self._clock.now()))
