"""The checker of a supervisor: it observes the supervisor's events and effects, and checks them.

It sits between a supervisor's core and its runner. It keeps its own record of the starts, stops
and exits of children, and never uses the counts of the core.
"""

import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import (
    ChildId,
    ChildSpec,
    Restart,
    StopTimeout,
    Strategy,
    SupervisorSpec,
)
from callboard.messages.ports import ChildRunner, Clock
from callboard.supervisors.supervisor import Supervisor

__all__ = ["CheckedSupervisor", "Observer", "SupervisionChecker", "checked_supervisors"]


class Observer(Protocol):
    """The run to which a checker reports."""

    tree_changes: int
    """The number of changes of trees."""

    def complain(self, invariant: str, seen: str) -> None:
        """Record a broken invariant."""


class SupervisionChecker:
    """The record of one supervisor's children, and its checks."""

    def __init__(self, spec: SupervisorSpec, now: Callable[[], float], observer: Observer) -> None:
        self._spec = spec
        self._now = now
        self._observer = observer
        self._complain = observer.complain
        self._places: dict[ChildId, int] = {}
        """The children in the order of their first mention."""
        self._next_place = 0
        self._started: dict[ChildId, None] = {}
        """Children that have started before."""
        self.alive: Final[dict[ChildId, int]] = {}
        """Started and not ended: child to incarnation."""
        self._starting: dict[ChildId, None] = {}
        """Those of them without a report yet."""
        self._asked: dict[ChildId, int] = {}
        """Asked to stop, and not ended."""
        self._removed: dict[ChildId, None] = {}
        self._trouble: dict[ChildId, float] = {}
        """The times of exits that the supervisor decides about at once."""
        self._good_ends: dict[ChildId, None] = {}
        self._restarts: list[float] = []
        """The times of decided restarts, ascending."""

    # --- effects --------------------------------------------------------------------------

    def starts(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        """The supervisor starts a child."""
        self._observer.tree_changes += 1
        self._removed.pop(child, None)
        if child in self.alive:
            self._complain(
                "one_incarnation",
                f"child {child!r} is started as incarnation {incarnation}, but "
                f"{self.alive[child]} has not ended",
            )
        self.alive[child] = incarnation
        self._starting[child] = None
        self.expects(child)
        if child not in self._started:
            self._started[child] = None
            return
        if spec.restart is Restart.TEMPORARY:
            self._complain("restart_kinds", f"temporary child {child!r} is restarted")
        elif child in self._good_ends and spec.restart is Restart.TRANSIENT and self._is_single:
            self._complain(
                "restart_kinds", f"transient child {child!r} is restarted after a normal exit"
            )
        self._good_ends.pop(child, None)
        at_s = self._trouble.pop(child, None)
        if at_s is not None:
            self._count(at_s)

    def _count(self, at_s: float) -> None:
        times_s, intensity = self._restarts, self._spec.intensity
        bisect.insort(times_s, at_s)
        for last in range(bisect.bisect_left(times_s, at_s), len(times_s)):
            first = bisect.bisect_left(times_s, times_s[last] - intensity.period_s)
            if last + 1 - first > intensity.restarts:
                self._complain(
                    "restart_intensity",
                    f"{last + 1 - first} restarts within {intensity.period_s:g} s, "
                    f"{intensity.restarts} are allowed",
                )
                return

    def expects(self, child: ChildId) -> None:
        """Give a child its place in the order."""
        if child not in self._places:
            self._places[child] = self._next_place
            self._next_place += 1

    def adopts(self, child: ChildId, incarnation: int) -> None:
        """The supervisor adopts a running child."""
        self._observer.tree_changes += 1
        self.expects(child)
        self._started[child] = None
        self.alive[child] = incarnation

    def by_hand(self, child: ChildId) -> None:
        """A caller starts a child that is down, which does not count as a restart."""
        self._trouble.pop(child, None)
        self._good_ends.pop(child, None)

    def runs(self, child: ChildId, incarnation: int) -> None:
        """A child has reported its start."""
        if self.alive.get(child) == incarnation:
            self._starting.pop(child, None)

    def stops(self, child: ChildId, incarnation: int) -> None:
        """The supervisor stops a child."""
        self._asked[child] = incarnation
        if child in self._removed:
            return
        place = self._places.get(child, -1)
        later = [c for c in self.alive if self._places.get(c, -1) > place and c != child]
        if later:
            self._complain(
                "stop_order", f"child {child!r} is stopped before {later!r}, which came after it"
            )

    def gone(self, child: ChildId) -> None:
        """The supervisor forgets a child."""
        for row in (self._places, self._asked, self._removed, self._trouble, self._good_ends):
            row.pop(child, None)
        self._started.pop(child, None)
        self._starting.pop(child, None)
        if child in self.alive:
            self._complain("one_incarnation", f"child {child!r} is forgotten while it runs")
            del self.alive[child]

    def abandoned(self) -> None:
        """All children were killed at once."""
        self._observer.tree_changes += 1
        self.alive.clear()
        self._starting.clear()
        self._asked.clear()

    def ended(self) -> None:
        """The supervisor has ended."""
        if self.alive:
            self._complain("stop_order", f"it ends before its children {list(self.alive)!r}")

    # --- events ---------------------------------------------------------------------------

    @property
    def _is_single(self) -> bool:
        return self._spec.strategy is Strategy.ONE_FOR_ONE

    def removes(self, child: ChildId) -> None:
        """A caller removes a child."""
        self._removed[child] = None

    def exited(
        self, child: ChildId, incarnation: int, reason: Exit, *, never_ran: bool = False
    ) -> None:
        """A child has ended, or did not start."""
        if self.alive.get(child) != incarnation:
            return
        self._observer.tree_changes += 1
        del self.alive[child]
        self._starting.pop(child, None)
        was_asked = self._asked.pop(child, None) == incarnation
        self._good_ends.pop(child, None)
        if was_asked:
            return
        if not (reason.is_abnormal or never_ran):
            self._good_ends[child] = None
        # A group may postpone an exit until the group runs again: such exits do not count.
        if self._is_single or not (self._asked or self._trouble or self._starting):
            self._trouble[child] = self._now()


class _Runner:
    """Records a supervisor's decisions, then performs them."""

    def __init__(self, runner: ChildRunner, checker: SupervisionChecker) -> None:
        self._runner = runner
        self._checker = checker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def start_child(self, child: ChildId, incarnation: int, spec: ChildSpec) -> None:
        self._checker.starts(child, incarnation, spec)
        self._runner.start_child(child, incarnation, spec)

    def start_children(
        self, children: Sequence[ChildId], first_incarnation: int, spec: ChildSpec
    ) -> None:
        for incarnation, child in enumerate(children, first_incarnation):
            self._checker.starts(child, incarnation, spec)
        self._runner.start_children(children, first_incarnation, spec)

    def stop_child(
        self,
        child: ChildId,
        incarnation: int,
        timeout: StopTimeout,
        reason: Exit,
        **options: Any,
    ) -> None:
        self._checker.stops(child, incarnation)
        self._runner.stop_child(child, incarnation, timeout, reason, **options)

    def child_gone(self, child: ChildId, reason: Exit) -> None:
        self._checker.gone(child)
        self._runner.child_gone(child, reason)

    def supervisor_stopped(self, reason: Exit) -> None:
        self._checker.ended()
        self._runner.supervisor_stopped(reason)


class CheckedSupervisor(Supervisor):
    """A supervisor with a checker."""

    __slots__ = ("checker",)

    def __init__(
        self,
        observer: Observer,
        spec: SupervisorSpec,
        runner: ChildRunner,
        clock: Clock,
        random: Callable[[], float],
        children: Iterable[ChildSpec] = (),
        **options: Any,
    ) -> None:
        self.checker = SupervisionChecker(spec, clock.now, observer)
        watched: Any = _Runner(runner, self.checker)
        super().__init__(spec, watched, clock, random, children, **options)

    def child_started(self, child: ChildId, incarnation: int) -> None:
        """The start succeeded."""
        self.checker.runs(child, incarnation)
        super().child_started(child, incarnation)

    def children_started(self, children: Sequence[ChildId], first_incarnation: int) -> None:
        """These starts succeeded; reports about failed ones came before."""
        for incarnation, child in enumerate(children, first_incarnation):
            self.checker.runs(child, incarnation)
        super().children_started(children, first_incarnation)

    def child_start_failed(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """The start failed."""
        self.checker.exited(child, incarnation, reason, never_ran=True)
        super().child_start_failed(child, incarnation, reason)

    def child_exited(self, child: ChildId, incarnation: int, reason: Exit) -> None:
        """A started child ended."""
        self.checker.exited(child, incarnation, reason)
        super().child_exited(child, incarnation, reason)

    def expect_child(self, spec: ChildSpec) -> None:
        """Add a child for `start` to start."""
        super().expect_child(spec)
        self.checker.expects(spec.id)

    def adopt_child(self, spec: ChildSpec, incarnation: int, child: ChildId = None) -> None:
        """Adopt a running child."""
        super().adopt_child(spec, incarnation, child)
        self.checker.adopts(spec.id if child is None else child, incarnation)

    def restart_child(self, child: ChildId) -> None:
        """Start a child that is down."""
        if child in self.core and self.child(child).is_down:
            self.checker.by_hand(child)
        super().restart_child(child)

    def remove_child(self, child: ChildId) -> None:
        """Stop and forget a child."""
        self.checker.removes(child)
        super().remove_child(child)

    def terminate_child(self, child: ChildId) -> None:
        """Stop a child and keep its spec."""
        self.checker.removes(child)
        super().terminate_child(child)

    def abandon(self) -> None:
        """Perform nothing more: the children were killed."""
        self.checker.abandoned()
        super().abandon()


def checked_supervisors(observer: Observer) -> Callable[..., Supervisor]:
    """A factory of supervisors whose checkers report to `observer`."""

    def make(*args: Any, **options: Any) -> Supervisor:
        return CheckedSupervisor(observer, *args, **options)

    return make
