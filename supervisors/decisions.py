"""The decisions of a supervisor: what follows when a child ends, and in what order.

`core` receives the events and handles the simple ones; events that need a decision come
here. The supervisor decides about an exit at once, or postpones the decision while a
sequence stops or starts children, as OTP's mailbox would hold the exit meanwhile.

Invariants (`validate` checks them): without a sequence no exit is postponed and no
child waits for its turn; the initial start and the shutdown are exactly the states
STARTING and STOPPING; single back-off timers exist under one_for_one only.
"""

from collections import deque
from collections.abc import Callable
from typing import assert_never, final

from callboard.messages.control.lifecycle import SHUT_DOWN, Exit, ExitReason
from callboard.messages.control.spec import AutoShutdown, ChildId, Restart, Strategy, SupervisorSpec
from callboard.messages.core.errors import InternalError

from .effects import (
    NOTHING,
    CancelTimer,
    Effect,
    Effects,
    Escalate,
    SetTimer,
    SupervisorStarted,
    SupervisorStopped,
)
from .history import ChildHistories
from .policies import RestartWindow
from .sequence import Phase, Purpose, Sequence
from .strategies import restart_group, restarts_after
from .tree import Child, ChildState, ChildTree, Goal, History
from .views import Decision, SupervisorState

__all__ = ["Decisions"]


@final
class Decisions:
    """The children of one supervisor, the sequence under way, and the rules on them."""

    __slots__ = (
        "_random",
        "histories",
        "restarts",
        "sequence",
        "spec",
        "state",
        "tree",
        "undecided",
        "window",
    )

    def __init__(self, spec: SupervisorSpec, random: Callable[[], float]) -> None:
        self._random = random
        self.spec = spec
        self.state = SupervisorState.NEW
        self.tree = ChildTree()
        self.histories: ChildHistories | None = None
        """Made when the first child fails."""
        self.window = RestartWindow(spec.intensity)
        self.sequence: Sequence | None = None
        self.restarts = 0
        # Postponed exits: the child, its incarnation then (an older one is stale), and
        # whether its start failed.
        self.undecided: deque[tuple[Child, int, bool]] = deque()

    def inherit(self, other: "Decisions") -> None:
        """Continue the histories and the incarnations of another supervisor."""
        self.histories = other.histories
        self.tree.incarnations = other.tree.incarnations

    def start(self, now: float) -> Effects:
        """Begin the initial start."""
        self.state = SupervisorState.STARTING
        self.sequence = Sequence.initial(list(self.tree.children.values()))
        return self._conclude([], now)

    def stop(self, now: float) -> Effects:
        """Begin the requested shutdown."""
        effects: list[Effect] = []
        self._shut_down(SupervisorStopped(SHUT_DOWN), effects)
        return self._conclude(effects, now)

    def proceed(self, now: float) -> Effects:
        """Advance the sequence after an answer that it may have waited for."""
        return self._conclude([], now)

    def handle_exit(self, child: Child, exit_: Exit, *, now: float) -> Effects:
        """A started child has ended."""
        effects: list[Effect] = []
        state = child.state
        is_stopping = self.state is SupervisorState.STOPPING
        child.last_exit = exit_
        if (
            state is ChildState.STOPPING
            or is_stopping
            or (state is ChildState.STARTING and child.goal is not Goal.RUN)
        ):
            self.tree.settle(child, exit_, effects, for_good=is_stopping)
        elif state is ChildState.STARTING and self.state is SupervisorState.STARTING:
            self.tree.move(child, ChildState.DOWN)
            self._record(child, exit_, now, Decision.START_UNDONE)
            self._shut_down(Escalate(_start_failure(child, exit_)), effects)
        else:
            if state is ChildState.STARTING and self.sequence is not None:
                self.sequence.fail()
            self.tree.move(child, ChildState.EXITED)
            self.undecided.append((child, child.incarnation, state is ChildState.STARTING))
        return self._conclude(effects, now)

    def retire(self, child: Child, goal: Goal, *, now: float) -> Effects:
        """Stop one child on request; `goal` says whether its spec stays."""
        effects: list[Effect] = []
        match child.state:
            case ChildState.STARTING | ChildState.RUNNING:
                child.goal = goal
                effects.append(self.tree.stop(child))
            case ChildState.STOPPING:
                # A later request may go further than an earlier one, not back.
                child.goal = max(child.goal, goal)
            case ChildState.PENDING | ChildState.EXITED | ChildState.WAITING | ChildState.DOWN:
                if child.state is ChildState.WAITING:
                    effects.append(CancelTimer(child.id, child.incarnation))
                if goal is Goal.GONE or child.goal is Goal.GONE:
                    self.tree.forget(child, SHUT_DOWN, effects)
                elif child.state is not ChildState.DOWN:
                    self.tree.move(child, ChildState.DOWN)
            case ChildState.GONE:
                raise InternalError(f"Child {child.id!r} is gone, but still listed.")
            case _:
                assert_never(child.state)
        return self._conclude(effects, now)

    # --- after each event ---------------------------------------------------------------

    def _conclude(self, effects: list[Effect], now: float) -> Effects:
        """Advance the sequence and the postponed exits as far as possible without an answer."""
        while True:
            sequence = self.sequence
            if sequence is not None and sequence.is_blocking:
                sequence.advance(self.tree, now, effects)
                if sequence.phase is Phase.DONE:
                    self.sequence = None
                    self._finish(sequence, effects)
                elif sequence.is_blocking:
                    break  # a member's answer moves it on
            if not self.undecided:
                break
            child, incarnation, start_failed = self.undecided.popleft()
            # Stale when a group restart or a request has handled it meanwhile.
            if child.state is ChildState.EXITED and child.incarnation == incarnation:
                self._decide(child, start_failed=start_failed, now=now, effects=effects)
        return tuple(effects) if effects else NOTHING

    def _finish(self, sequence: Sequence, effects: list[Effect]) -> None:
        match sequence.purpose:
            case Purpose.INITIAL:
                self.state = SupervisorState.RUNNING
                effects.append(SupervisorStarted())
            case Purpose.RESTART:
                pass
            case Purpose.SHUTDOWN:
                assert sequence.final_effect is not None, "a shutdown knows its final effect"
                self.state = SupervisorState.STOPPED
                self.tree.clear()
                effects.append(sequence.final_effect)
            case _:
                assert_never(sequence.purpose)

    # --- the rules ------------------------------------------------------------------------

    def _decide(
        self, child: Child, *, start_failed: bool, now: float, effects: list[Effect]
    ) -> None:
        exit_ = child.last_exit
        assert exit_ is not None, "an exited child has an exit"
        if start_failed or restarts_after(child.spec.restart, exit_):
            self._restart(child, exit_, now, effects)
            return
        if child.spec.restart is Restart.TEMPORARY or child.is_dynamic:
            decision = Decision.FORGOTTEN
            self.tree.forget(child, exit_, effects)
        else:
            decision = Decision.LEFT_DOWN
            self.tree.move(child, ChildState.DOWN)
        if child.spec.significant and self._auto_shut_down(child, exit_, effects):
            decision = Decision.SHUT_DOWN
        if exit_.is_abnormal:
            self._record(child, exit_, now, decision)

    def _auto_shut_down(self, child: Child, exit_: Exit, effects: list[Effect]) -> bool:
        # Where it is `never`, no child is significant: `check_fits` refuses it.
        if self.spec.auto_shutdown is AutoShutdown.ALL_SIGNIFICANT and self.tree.significant:
            return False
        detail = {"cause": "auto_shutdown", "child": str(child.id), "exit": exit_.to_data()}
        self._shut_down(SupervisorStopped(Exit(ExitReason.SHUTDOWN, detail)), effects)
        return True

    def _restart(self, child: Child, exit_: Exit, now: float, effects: list[Effect]) -> None:
        if not self.window.admit(now):
            self.tree.move(child, ChildState.DOWN)
            detail = {
                "cause": "restart_intensity_exceeded",
                "child": str(child.id),
                "restarts": self.spec.intensity.restarts,
                "period_s": self.spec.intensity.period_s,
                "exit": exit_.to_data(),
            }
            self._record(child, exit_, now, Decision.GAVE_UP)
            self._shut_down(Escalate(Exit(ExitReason.SHUTDOWN, detail)), effects)
            return
        self.restarts += 1
        delay_s = self._delay_s(child, now)
        is_alone = self.spec.strategy is Strategy.ONE_FOR_ONE
        decision = Decision.RESTARTED if is_alone else Decision.RESTARTED_GROUP
        self._record(child, exit_, now, decision, delay_s)
        if not is_alone:
            self._restart_group(child, now + delay_s, effects)
        elif delay_s > 0.0:
            self.tree.move(child, ChildState.WAITING)
            effects.append(SetTimer(child.id, child.incarnation, now + delay_s))
        else:
            effects.append(self.tree.start(child))

    def _delay_s(self, child: Child, now: float) -> float:
        backoff = child.spec.backoff or self.spec.backoff
        history = child.history
        if history is None:
            history = child.history = History()
        elif history.started_at_s is not None and now - history.started_at_s >= backoff.max_s:
            history.consecutive = 0
        history.consecutive += 1
        history.restarts += 1
        return backoff.delay_s(history.consecutive, self._random())

    def _record(
        self, child: Child, exit_: Exit, now: float, decision: Decision, delay_s: float = 0.0
    ) -> None:
        if self.histories is None:
            self.histories = ChildHistories()
        self.histories.record(child.id, child.incarnation, exit_, now, decision, delay_s)

    def _record_group(self, owner: Child, members: list[Child]) -> None:
        """Record for each other member that this failure restarts it, or ends it."""
        assert self.histories is not None, "the failure itself was recorded first"
        taken: list[tuple[ChildId, bool]] = []
        for member in members:
            # One that waits for its turn was taken along by an earlier failure.
            if member is owner or member.state is ChildState.PENDING:
                continue
            comes_back = member.spec.restart is not Restart.TEMPORARY
            taken.append((member.id, comes_back))
            if comes_back:
                history = member.history
                if history is None:
                    history = member.history = History()
                history.group_restarts += 1
        self.histories.record_group(owner.id, taken)

    def _restart_group(self, child: Child, resume_at_s: float, effects: list[Effect]) -> None:
        members = restart_group(self.spec.strategy, child, self.tree.newest_first())
        self._record_group(child, members)
        unfinished = self.sequence
        if unfinished is not None:
            # A start in it failed, or an older sibling ended while it waited: the new group
            # takes over, with all other children that were to start.
            assert not unfinished.is_blocking, "decisions come between sequences only"
            if unfinished.is_waiting:
                effects.append(CancelTimer(*unfinished.owner_key))
            known = set(map(id, members))
            members += [
                member
                for member in unfinished.members
                if member.state is ChildState.PENDING and id(member) not in known
            ]
        self.sequence = Sequence.restart(members, child, resume_at_s, self.tree, effects)

    def _shut_down(
        self, final_effect: "Escalate | SupervisorStopped", effects: list[Effect]
    ) -> None:
        """Stop all children for good and drop every other plan."""
        if self.sequence is not None and self.sequence.is_waiting:
            effects.append(CancelTimer(*self.sequence.owner_key))
        self.state = SupervisorState.STOPPING
        self.undecided.clear()
        self.sequence = Sequence.shutdown(list(self.tree.children.values()), final_effect)

    # --- the invariants -------------------------------------------------------------------

    def validate(self) -> None:
        """Check every invariant. Raises InternalError."""
        self.tree.validate()
        children = self.tree.children.values()
        found = {child.state for child in children}
        sequence = self.sequence
        purpose = None if sequence is None else sequence.purpose
        postponed = {(id(child), incarnation) for child, incarnation, _ in self.undecided}
        checks = {
            "more children than children_max": len(children) <= self.spec.children_max,
            "the window holds too much": len(self.window) <= self.spec.intensity.restarts + 1,
            "INITIAL and STARTING disagree": (purpose is Purpose.INITIAL)
            == (self.state is SupervisorState.STARTING),
            "SHUTDOWN and STOPPING disagree": (purpose is Purpose.SHUTDOWN)
            == (self.state is SupervisorState.STOPPING),
            "a child waits alone outside one_for_one": ChildState.WAITING not in found
            or self.spec.strategy is Strategy.ONE_FOR_ONE,
            "a stopped supervisor has children": self.state is not SupervisorState.STOPPED
            or not children,
            "an exit is postponed without a sequence": not self.undecided
            or (sequence is not None and sequence.is_blocking),
            "a finished sequence is still there": sequence is None
            or sequence.is_blocking
            or sequence.is_waiting,
            "a child waits for no sequence": ChildState.PENDING not in found
            or sequence is not None
            or self.state is SupervisorState.NEW,
            "an exit is lost": self.state is SupervisorState.STOPPING
            or all(
                (id(child), child.incarnation) in postponed
                for child in children
                if child.state is ChildState.EXITED
            ),
        }
        for problem, holds in checks.items():
            if not holds:
                raise InternalError(f"Supervisor: {problem}.")


def _start_failure(child: Child, exit_: Exit) -> Exit:
    detail = {"cause": "child_start_failed", "child": str(child.id), "exit": exit_.to_data()}
    return Exit(ExitReason.START_FAILED, detail)
