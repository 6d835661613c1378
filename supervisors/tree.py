"""The children of one supervisor: their order, their states, and what changes them.

A dict keeps the children in start order. A stop iterates in reverse, and a restarted child
keeps its place. A child that never failed costs one small record: its history begins with its
first restart.

Invariants (`validate` checks them): a child's state changes only along `EDGES`; an
incarnation is never used twice; the counters agree with the states.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum, unique
from typing import Final, final

from callboard.messages.control.lifecycle import SHUT_DOWN, Exit
from callboard.messages.control.spec import ChildId, ChildSpec
from callboard.messages.core.errors import InternalError

from .effects import ChildGone, Effect, StartChild, StartChildren, StopChild

__all__ = ["EDGES", "Child", "ChildState", "ChildTree", "Goal", "History"]


@final
@unique
class ChildState(IntEnum):
    """The state of one child in its supervisor. IntEnum, because Enum hashes in Python."""

    PENDING = 0
    """It waits for its turn in an ordered start."""

    STARTING = 1
    """StartChild went out; there is no answer yet."""

    RUNNING = 2
    """It runs."""

    STOPPING = 3
    """StopChild went out; the child has not exited yet."""

    EXITED = 4
    """It ended; the decision about it comes after the running sequence."""

    WAITING = 5
    """Its back-off timer runs."""

    DOWN = 6
    """It ended or was terminated; its spec stays."""

    GONE = 7
    """The supervisor has forgotten it; only an older sequence may still hold the record."""


_S = ChildState

# Every change of state there is; a new child begins PENDING (during a sequence), STARTING
# (otherwise) or RUNNING (adopted). docs/supervision.md shows the same table.
EDGES: Final[dict[ChildState, frozenset[ChildState]]] = {
    _S.PENDING: frozenset(
        {
            _S.STARTING,  # its turn has come
            _S.DOWN,  # terminated, or the supervisor stops
            _S.GONE,  # removed, or a temporary one terminated
        }
    ),
    _S.STARTING: frozenset(
        {
            _S.RUNNING,  # it reported its start
            _S.STOPPING,  # a request, a group restart or a stop ends it
            _S.EXITED,  # its restart failed: the supervisor tries again
            _S.DOWN,  # its initial start, or its restart by hand, failed
            _S.GONE,  # its first start as a dynamic child failed
        }
    ),
    _S.RUNNING: frozenset(
        {
            _S.STOPPING,  # a request, a group restart or a stop ends it
            _S.EXITED,  # it ended by itself
            _S.DOWN,  # it ended by itself while the supervisor stops
        }
    ),
    _S.STOPPING: frozenset(
        {
            _S.PENDING,  # stopped with its group, and will start with it
            _S.DOWN,  # terminated, or the supervisor stops
            _S.GONE,  # removed, or temporary
        }
    ),
    _S.EXITED: frozenset(
        {
            _S.STARTING,  # restarted at once
            _S.WAITING,  # restarted after its back-off
            _S.PENDING,  # restarted with its group
            _S.DOWN,  # not restarted, or terminated, or the supervisor stops
            _S.GONE,  # not restarted and forgotten, or removed
        }
    ),
    _S.WAITING: frozenset(
        {
            _S.STARTING,  # the timer fired
            _S.DOWN,  # terminated, or the supervisor stops
            _S.GONE,  # removed
        }
    ),
    _S.DOWN: frozenset(
        {
            _S.STARTING,  # restarted by hand
            _S.PENDING,  # restarted with its group, or by hand during a sequence
            _S.GONE,  # removed
        }
    ),
    _S.GONE: frozenset(),
}


@final
@unique
class Goal(IntEnum):
    """What follows for a child when its start fails or its stop is done."""

    RUN = 0
    """It runs again: after a failed start, or with its group after a stop."""

    DOWN = 1
    """It stays down and keeps its spec: terminated, or its restart by hand failed."""

    GONE = 2
    """The supervisor forgets it: removed, temporary, or dynamic with a failed first start."""


@final
class History:
    """Restart counts of a child that has been restarted."""

    __slots__ = ("consecutive", "group_restarts", "restarts", "started_at_s")

    def __init__(self) -> None:
        self.consecutive = 0
        self.restarts = 0
        self.group_restarts = 0
        self.started_at_s: float | None = None


@final
class Child:
    """One child. Mutable and slotted: there are 100,000 of them in one supervisor."""

    __slots__ = ("goal", "history", "id", "incarnation", "is_dynamic", "last_exit", "spec", "state")

    def __init__(
        self, child_id: ChildId, spec: ChildSpec, state: ChildState, goal: Goal, *, is_dynamic: bool
    ) -> None:
        self.id = child_id
        self.spec = spec
        self.state = state
        self.goal = goal
        self.is_dynamic = is_dynamic
        self.incarnation = 0
        self.history: History | None = None
        self.last_exit: Exit | None = None


@final
class ChildTree:
    """All children of one supervisor, in start order."""

    __slots__ = ("children", "incarnations", "running", "significant")

    def __init__(self) -> None:
        self.children: dict[ChildId, Child] = {}
        self.incarnations = 0
        """The last incarnation used: unique in the supervisor, even when an id comes again."""
        self.running = 0
        self.significant = 0
        """Significant children that are not DOWN: all_significant waits for them."""

    def insert(self, child: Child) -> None:
        """Add a child at the end of the start order."""
        self.children[child.id] = child
        if child.spec.significant:
            self.significant += 1

    def newest_first(self) -> Iterator[Child]:
        """Every child in reverse start order."""
        return reversed(self.children.values())

    def move(self, child: Child, state: ChildState) -> None:
        """Change a child's state along an edge, and keep the counters."""
        old = child.state
        if state not in EDGES[old]:
            raise InternalError(f"Child {child.id!r}: {old.name} does not lead to {state.name}.")
        child.state = state
        if old is _S.RUNNING:
            self.running -= 1
        elif state is _S.RUNNING:
            self.running += 1
        if child.spec.significant:
            if state is _S.DOWN or (state is _S.GONE and old is not _S.DOWN):
                self.significant -= 1
            elif old is _S.DOWN and state is not _S.GONE:
                self.significant += 1

    def start(self, child: Child) -> StartChild:
        """Begin a new incarnation of a child that does not run."""
        if child.state is not _S.STARTING:  # a dynamic child begins as STARTING
            self.move(child, _S.STARTING)
        if child.history is not None:
            child.history.started_at_s = None  # the previous run must not count for this one
        self.incarnations = child.incarnation = self.incarnations + 1
        return StartChild(child.id, child.incarnation, child.spec)

    def start_all(self, spec: ChildSpec, child_ids: Sequence[ChildId]) -> StartChildren:
        """Insert new dynamic children, in this order, and begin the first incarnation of each."""
        children, first = self.children, self.incarnations + 1
        for incarnation, child_id in enumerate(child_ids, first):
            child = Child(child_id, spec, _S.STARTING, Goal.GONE, is_dynamic=True)
            child.incarnation = incarnation
            children[child_id] = child
        self.incarnations += len(child_ids)
        if spec.significant:
            self.significant += len(child_ids)
        return StartChildren(child_ids, first, spec)

    def stop(self, child: Child, *, comes_back: bool = False) -> StopChild:
        """Stop a child; its goal says what follows."""
        self.move(child, _S.STOPPING)
        timeout = child.spec.stop_timeout
        return StopChild(child.id, child.incarnation, timeout, SHUT_DOWN, comes_back)

    def forget(self, child: Child, exit_: Exit, effects: list[Effect]) -> None:
        """Forget a child that does not run, and report it."""
        self.move(child, _S.GONE)
        del self.children[child.id]
        effects.append(ChildGone(child.id, exit_))

    def settle(self, child: Child, exit_: Exit, effects: list[Effect], *, for_good: bool) -> None:
        """Move a child that ended as expected to the state that its goal names.

        `for_good` when the supervisor itself stops, so that no child starts again.
        """
        if child.goal is Goal.GONE:
            self.forget(child, exit_, effects)
        elif for_good or child.goal is Goal.DOWN:
            self.move(child, _S.DOWN)
        else:
            self.move(child, _S.PENDING)

    def clear(self) -> None:
        """Drop all children at once: the supervisor has stopped."""
        assert self.running == 0, "a stopped supervisor has no running child"
        self.children.clear()
        self.significant = 0

    def validate(self) -> None:
        """Check the invariants of the children. Raises InternalError."""
        running = significant = 0
        incarnations: set[int] = set()
        for child_id, child in self.children.items():
            running += child.state is _S.RUNNING
            significant += child.spec.significant and child.state is not _S.DOWN
            self._check(child.id == child_id, f"child {child.id!r} is listed as {child_id!r}")
            self._check(child.state is not _S.GONE, f"child {child_id!r} is gone, but listed")
            if child.incarnation:
                self._check(
                    child.incarnation not in incarnations, f"incarnation of {child_id!r} repeats"
                )
                incarnations.add(child.incarnation)
            else:
                # A child that never started waits for its turn, or is down.
                self._check(
                    child.state in {_S.PENDING, _S.DOWN},
                    f"child {child_id!r} has a state without a start",
                )
        self._check(
            running == self.running, f"{running} children run, but the counter says {self.running}"
        )
        self._check(
            significant == self.significant,
            f"{significant} significant children, but the counter says {self.significant}",
        )
        self._check(
            max(incarnations, default=0) <= self.incarnations,
            "an incarnation is above the last one given",
        )

    @staticmethod
    def _check(holds: bool, problem: str) -> None:  # noqa: FBT001 -- reads as an assertion
        if not holds:
            raise InternalError(f"Supervisor tree: {problem}.")
