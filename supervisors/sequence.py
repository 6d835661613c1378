"""A sequence: several children start or stop in order, one at a time.

There are three kinds. The initial start starts all children, oldest first. A group restart
stops its members, newest first, waits for the back-off, and starts them, oldest first. The
shutdown stops all children, newest first, for good.

A supervisor runs at most one sequence. In OTP a sequence blocks the supervisor, which handles
other events afterwards. Here nothing blocks: a sequence is a position in a list, and each
answer advances it. The phases STOPPING and STARTING keep OTP's order (the core postpones
other exits), WAITING does not.

Invariant: a sequence visits every member once in each direction, so a shutdown of n children
takes O(n) steps in all. A second `advance` with no answer in between does nothing.
"""

from enum import Enum, unique
from typing import assert_never, final

from callboard.messages.control.lifecycle import SHUT_DOWN
from callboard.messages.control.spec import ChildId, Restart

from .effects import CancelTimer, Effect, Escalate, SetTimer, SupervisorStopped
from .tree import Child, ChildState, ChildTree, Goal

__all__ = ["Phase", "Purpose", "Sequence"]


@final
@unique
class Purpose(Enum):
    """The reason for a sequence."""

    INITIAL = "initial"
    RESTART = "restart"
    SHUTDOWN = "shutdown"


@final
@unique
class Phase(Enum):
    """The progress of a sequence."""

    STOPPING = "stopping"  # on to WAITING (delayed restart), STARTING or DONE (shutdown)
    WAITING = "waiting"  # on to STARTING, by the timer
    STARTING = "starting"  # on to DONE, or to FAILED when a member of a group did not start
    DONE = "done"
    FAILED = "failed"  # within one event: the decision on that member begins a new sequence


@final
class Sequence:
    """One sequence under way; made by `initial`, `restart` or `shutdown`."""

    __slots__ = (
        "final_effect",
        "members",
        "owner_key",
        "phase",
        "position",
        "purpose",
        "resume_at_s",
    )

    def __init__(self, purpose: Purpose, phase: Phase, members: list[Child]) -> None:
        self.purpose = purpose
        self.phase = phase
        self.members = members
        """In start order."""
        self.position = 0 if phase is Phase.STARTING else len(members) - 1
        self.owner_key: tuple[ChildId, int] = (None, 0)
        """Id and incarnation of the child whose exit caused a restart: the key of its timer."""
        self.resume_at_s = 0.0
        self.final_effect: Escalate | SupervisorStopped | None = None
        """The last effect of a shutdown."""

    @classmethod
    def initial(cls, members: list[Child]) -> "Sequence":
        """Start the members, oldest first."""
        return cls(Purpose.INITIAL, Phase.STARTING, members)

    @classmethod
    def restart(
        cls,
        members: list[Child],
        owner: Child,
        resume_at_s: float,
        tree: ChildTree,
        effects: list[Effect],
    ) -> "Sequence":
        """Stop the members, newest first, and start them from `resume_at_s` on.

        As in OTP, members that are down start again with their group, and temporary
        members do not come back.
        """
        sequence = cls(Purpose.RESTART, Phase.STOPPING, members)
        sequence.owner_key = (owner.id, owner.incarnation)
        sequence.resume_at_s = resume_at_s
        for child in members:
            # Only now: a member that a request stops later, during the sequence, stays down.
            if child.state is ChildState.DOWN:
                child.goal = Goal.RUN
                tree.move(child, ChildState.PENDING)
            elif child.state is ChildState.EXITED:
                _await_restart(child, tree, effects)
        return sequence

    @classmethod
    def shutdown(
        cls, members: list[Child], final_effect: "Escalate | SupervisorStopped"
    ) -> "Sequence":
        """Stop the members, newest first, and end with `final_effect`."""
        sequence = cls(Purpose.SHUTDOWN, Phase.STOPPING, members)
        sequence.final_effect = final_effect
        return sequence

    @property
    def is_blocking(self) -> bool:
        """Whether the exits of other children wait until it is over."""
        return self.phase is Phase.STOPPING or self.phase is Phase.STARTING

    @property
    def is_waiting(self) -> bool:
        """Whether only its timer advances it."""
        return self.phase is Phase.WAITING

    def advance(self, tree: ChildTree, now: float, effects: list[Effect]) -> None:
        """Advance as far as possible without another event."""
        if self.phase is Phase.STOPPING and self._stop_members(tree, effects):
            if self.purpose is Purpose.SHUTDOWN:
                self.phase = Phase.DONE
            elif self.resume_at_s > now:
                self.phase = Phase.WAITING
                effects.append(SetTimer(*self.owner_key, at_s=self.resume_at_s))
            else:
                self.resume()
        if self.phase is Phase.STARTING and self._start_members(tree, effects):
            self.phase = Phase.DONE

    def resume(self) -> None:
        """Begin to start the members."""
        self.phase = Phase.STARTING
        self.position = 0

    def fail(self) -> None:
        """Stop starting members: one of the group did not start."""
        if self.purpose is Purpose.RESTART:
            self.phase = Phase.FAILED

    def _stop_members(self, tree: ChildTree, effects: list[Effect]) -> bool:
        """Go down to the next member whose exit it awaits; True when there is none."""
        while self.position >= 0:
            child = self.members[self.position]
            state = child.state
            if state is ChildState.STOPPING:
                return False
            if state is ChildState.RUNNING or state is ChildState.STARTING:
                comes_back = False
                if self.purpose is Purpose.RESTART:
                    comes_back = child.spec.restart is not Restart.TEMPORARY
                    child.goal = Goal.RUN if comes_back else Goal.GONE
                effects.append(tree.stop(child, comes_back=comes_back))
                return False
            if self.purpose is Purpose.SHUTDOWN:
                _stop_for_good(child, tree, effects)
            elif state is ChildState.EXITED:
                # It ended by itself before its turn; its postponed exit is stale.
                _await_restart(child, tree, effects)
            self.position -= 1
        return True

    def _start_members(self, tree: ChildTree, effects: list[Effect]) -> bool:
        """Go up to the next member whose start it awaits; True when there is none."""
        while self.position < len(self.members):
            child = self.members[self.position]
            if child.state is ChildState.STARTING:
                return False
            if child.state is ChildState.PENDING:
                effects.append(tree.start(child))
                return False
            self.position += 1
        return True


def _await_restart(child: Child, tree: ChildTree, effects: list[Effect]) -> None:
    """Let an ended member wait for its group's start; forget a temporary one."""
    if child.spec.restart is Restart.TEMPORARY:
        tree.forget(child, child.last_exit or SHUT_DOWN, effects)
    else:
        tree.move(child, ChildState.PENDING)


def _stop_for_good(child: Child, tree: ChildTree, effects: list[Effect]) -> None:
    """Keep a member that does not run down, because its supervisor ends."""
    match child.state:
        case ChildState.PENDING | ChildState.EXITED:
            tree.move(child, ChildState.DOWN)
        case ChildState.WAITING:
            effects.append(CancelTimer(child.id, child.incarnation))
            tree.move(child, ChildState.DOWN)
        case ChildState.DOWN | ChildState.GONE:
            pass
        case ChildState.STARTING | ChildState.RUNNING | ChildState.STOPPING:
            raise AssertionError(f"child {child.id!r} is {child.state.name}, not ended")
        case _:
            assert_never(child.state)
