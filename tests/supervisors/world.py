"""An in-memory shell for one supervisor core: it performs the effects and checks them.

It asserts at every effect that a child has one incarnation at a time, that only running children
stop, and that no effect follows the end.
"""

from collections import deque
from collections.abc import Callable, Iterable

from callboard.messages.control.lifecycle import ENDED_NORMALLY, SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.spec import (
    Backoff,
    ChildId,
    ChildSpec,
    Intensity,
    Restart,
    Strategy,
    SupervisorSpec,
)
from callboard.supervisors.core import SupervisorCore
from callboard.supervisors.effects import (
    CancelTimer,
    ChildGone,
    Effects,
    Escalate,
    SetTimer,
    StartChild,
    StartChildren,
    StopChild,
    SupervisorStarted,
    SupervisorStopped,
)
from callboard.supervisors.tree import EDGES, ChildState

CRASH = Exit(ExitReason.FAILED, {"message": "boom"})
START_FAILED = Exit(ExitReason.START_FAILED, {"message": "no start"})
EXITS = {
    "normal": ENDED_NORMALLY,
    "shutdown": SHUT_DOWN,
    "killed": Exit(ExitReason.KILLED),
    "failed": CRASH,
    "host_lost": Exit(ExitReason.HOST_LOST),
}

AT_ONCE = Backoff(max_s=0.0)
PATIENT = Intensity(restarts=1000, period_s=5.0)


def reachable_states() -> dict[ChildState, set[ChildState]]:
    """From each state, every state that one event may leave a child in."""
    found = {state: {state} for state in ChildState}
    for _ in ChildState:
        for state in ChildState:
            found[state].update(*(EDGES[later] for later in tuple(found[state])))
    return found


class World:
    """Performs a core's effects; answers them by itself when `answers` is set."""

    def __init__(
        self,
        spec: SupervisorSpec,
        children: Iterable[ChildSpec] = (),
        *,
        answers: bool = True,
        random: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.core = SupervisorCore(spec, random, children)
        self.now = 100.0
        self.answers = answers
        self.unstartable: set[ChildId] = set()
        self.starting: dict[ChildId, int] = {}
        self.running: dict[ChildId, int] = {}
        self.stopping: dict[ChildId, int] = {}
        self.timers: dict[tuple[ChildId, int], float] = {}
        self.stops: list[StopChild] = []
        self.trace: list[str] = []
        self.ending: Escalate | SupervisorStopped | None = None
        self.gone: dict[ChildId, Exit] = {}
        self._last_incarnation = 0
        self._unanswered: deque[StartChild | StopChild] = deque()

    def start(self) -> "World":
        self.perform(self.core.start(self.now))
        return self

    def started(self) -> "World":
        """Start, and clear the trace."""
        self.start()
        self.trace.clear()
        return self

    # --- performing ---------------------------------------------------------------------

    def perform(self, effects: Effects) -> None:
        for effect in effects:
            assert self.ending is None, f"{effect} after the end"
            match effect:
                case StartChild():
                    self._begins(effect)
                case StartChildren(ids, first, spec):
                    for incarnation, child_id in enumerate(ids, first):
                        self._begins(StartChild(child_id, incarnation, spec))
                case StopChild(child_id, incarnation, _, _):
                    alive = self.starting.pop(child_id, None) or self.running.pop(child_id, None)
                    assert alive == incarnation, f"stop of {child_id}, which does not run"
                    self.stopping[child_id] = incarnation
                    self.stops.append(effect)
                    self.trace.append(f"stop {child_id}")
                    self._unanswered.append(effect)
                case SetTimer(child_id, incarnation, at_s):
                    assert (child_id, incarnation) not in self.timers, "a timer was set twice"
                    self.timers[child_id, incarnation] = at_s
                    self.trace.append(f"timer {child_id}")
                case CancelTimer(child_id, incarnation):
                    del self.timers[child_id, incarnation]
                    self.trace.append(f"cancel {child_id}")
                case ChildGone(child_id, exit_):
                    assert not self.is_alive(child_id), f"{child_id} is forgotten, but runs"
                    self.gone[child_id] = exit_
                    self.trace.append(f"gone {child_id}")
                case SupervisorStarted():
                    self.trace.append("started")
                case Escalate() | SupervisorStopped():
                    assert not {*self.starting, *self.running, *self.stopping}, "orphans"
                    assert not self.timers, "a timer outlives its supervisor"
                    self.ending = effect
                    self.trace.append("escalate" if isinstance(effect, Escalate) else "stopped")
        self.core.validate_state()
        while self.answers and self._unanswered:
            self.answer(self._unanswered.popleft())

    def _begins(self, start: StartChild) -> None:
        child_id, incarnation = start.id, start.incarnation
        assert not self.is_alive(child_id), f"{child_id} would run twice"
        assert incarnation > self._last_incarnation, "an incarnation came again"
        self._last_incarnation = incarnation
        self.starting[child_id] = incarnation
        self.trace.append(f"start {child_id}")
        self._unanswered.append(start)

    def is_alive(self, child_id: ChildId) -> bool:
        return child_id in self.starting or child_id in self.running or child_id in self.stopping

    def answer(self, effect: StartChild | StopChild) -> None:
        """Answer an effect, unless a later one has replaced it."""
        child_id, incarnation = effect.id, effect.incarnation
        if isinstance(effect, StopChild):
            if self.stopping.get(child_id) == incarnation:
                del self.stopping[child_id]
                self.perform(self.core.child_exited(child_id, incarnation, SHUT_DOWN, self.now))
        elif self.starting.get(child_id) == incarnation:
            del self.starting[child_id]
            if child_id in self.unstartable:
                self.perform(
                    self.core.child_start_failed(child_id, incarnation, START_FAILED, self.now)
                )
            else:
                self.running[child_id] = incarnation
                self.perform(self.core.child_started(child_id, incarnation, self.now))

    # --- events of children ---------------------------------------------------------------

    def exits(self, child_id: ChildId, exit_: Exit = CRASH) -> None:
        """A running child ends by itself."""
        incarnation = self.running.pop(child_id)
        self.perform(self.core.child_exited(child_id, incarnation, exit_, self.now))

    def answer_start(self, child_id: ChildId) -> None:
        incarnation = self.starting.pop(child_id)
        self.running[child_id] = incarnation
        self.perform(self.core.child_started(child_id, incarnation, self.now))

    def answer_failed_start(self, child_id: ChildId) -> None:
        incarnation = self.starting.pop(child_id)
        self.perform(self.core.child_start_failed(child_id, incarnation, START_FAILED, self.now))

    def answer_stop(self, child_id: ChildId, exit_: Exit = SHUT_DOWN) -> None:
        incarnation = self.stopping.pop(child_id)
        self.perform(self.core.child_exited(child_id, incarnation, exit_, self.now))

    def fire(self) -> None:
        """Let the next timer fire, at its time."""
        key = min(self.timers, key=lambda timer: self.timers[timer])
        self.now = max(self.now, self.timers.pop(key))
        self.perform(self.core.timer_fired(*key, self.now))

    # --- queries of a test ----------------------------------------------------------------

    def taken(self) -> list[str]:
        """The trace since the last call."""
        trace, self.trace = self.trace, []
        return trace

    def order(self) -> list[ChildId]:
        return [view.id for view in self.core.children()]

    def states(self) -> dict[ChildId, ChildState]:
        return {view.id: view.state for view in self.core.children()}


def spec_of(
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    *,
    intensity: Intensity = PATIENT,
    backoff: Backoff = AT_ONCE,
    children_max: int = 100,
) -> SupervisorSpec:
    return SupervisorSpec(strategy, intensity, backoff, children_max=children_max)


def world_of(
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    restart: Restart = Restart.PERMANENT,
    *,
    names: str = "abcd",
    answers: bool = True,
    intensity: Intensity = PATIENT,
    backoff: Backoff = AT_ONCE,
) -> World:
    """Permanent children, except "b", which is `restart`."""
    children = [ChildSpec(n, restart=restart if n == "b" else Restart.PERMANENT) for n in names]
    spec = spec_of(strategy, intensity=intensity, backoff=backoff)
    return World(spec, children, answers=answers)
