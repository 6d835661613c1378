"""The supervisor core: decides which children start, restart and stop, and does none of it.

Every method is an event: it takes the time `now` (monotonic seconds), changes the
state, and returns the effects that the caller must perform, in order. The caller chooses
the ids, so the same core supervises actors in a host and hosts in a cluster. `effects` says
what the caller owes the core in return.

The semantics are Erlang/OTP's. Where OTP blocks (a supervisor that starts or stops
children handles nothing else), this core keeps a `Sequence` and postpones the exits of other
children until the sequence is over. The outcome is OTP's, and the caller never waits.
Four things differ from OTP:

- restarts are delayed by a back-off, during which other events are handled;
- dynamic children start independently of each other, and the supervisor forgets one that
  ends for good; OTP does so with simple_one_for_one only;
- a failed restart counts at once, not at the next attempt;
- all members of a group are down while the group waits; OTP does not wait, and leaves those
  running that it restarted before one failed.

States and their changes are a table: `tree.EDGES`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildId, ChildSpec, Restart, StopTimeout, SupervisorSpec
from callboard.messages.core.errors import ActorNotFound, UsageError

from .child_checks import check_accepts, check_fits, check_room
from .decisions import Decisions
from .effects import NOTHING, Effects
from .tree import Child, ChildState, Goal
from .views import ChildHistory, ChildView, SupervisorState, SupervisorStatistics, view_of

__all__ = ["SupervisorCore"]


@final
class SupervisorCore:
    """One supervisor: events in, effects out.

    `random` gives numbers in [0, 1) for the jitter of the back-off. `start` starts the
    `children` in order. Raises SpecError for children that do not fit together.
    """

    __slots__ = ("_decisions", "_now_s", "_spec")

    def __init__(
        self,
        spec: SupervisorSpec,
        random: Callable[[], float],
        children: Iterable[ChildSpec] = (),
    ) -> None:
        self._spec = spec
        self._decisions = Decisions(spec, random)
        self._now_s = 0.0
        for child_spec in children:
            self.expect_child(child_spec)

    # --- events: the supervisor itself ---------------------------------------------

    def expect_child(self, spec: ChildSpec) -> None:
        """Add a child for `start` to start, after those added before it.

        Raises UsageError after `start`, and SpecError as `add_child` does.
        """
        if self.state is not SupervisorState.NEW:
            raise UsageError(
                f"The supervisor is {self.state}: it takes no initial child {spec.id!r} any more.",
                advice="Add it as a dynamic child (add_child).",
            )
        tree = self._decisions.tree
        check_fits(self._spec, spec, spec.id, tree.children)
        tree.insert(Child(spec.id, spec, ChildState.PENDING, Goal.RUN, is_dynamic=False))

    def start(self, now: float) -> Effects:
        """Start the initial children, each once the one before it runs.

        Ends in SupervisorStarted. When a child fails to start, the supervisor stops those that
        run, in reverse order, and ends in Escalate. Raises UsageError when called twice.
        """
        self._now_s = now
        if self.state is not SupervisorState.NEW:
            raise UsageError(
                f"The supervisor is {self.state} and cannot be started.",
                advice="Make a new core: each starts once.",
            )
        return self._decisions.start(now)

    def stop(self, now: float) -> Effects:
        """Stop all children in reverse start order; ends in SupervisorStopped.

        Does nothing when the supervisor is already stopping.
        """
        self._now_s = now
        if self.state in {SupervisorState.STOPPING, SupervisorState.STOPPED}:
            return NOTHING
        return self._decisions.stop(now)

    # --- events: requests about one child --------------------------------------------

    def add_child(self, spec: ChildSpec, now: float, child_id: ChildId = None) -> Effects:
        """Add a dynamic child and start it, after the running sequence if there is one.

        `child_id` replaces the spec's id, so that many children can share one spec. The
        supervisor forgets a child whose first start fails (ChildGone).

        Raises SpecError for an id in use or a child that does not fit this supervisor,
        UsageError when there are children_max children, ActorStopped when the supervisor is
        stopping.
        """
        self._now_s = now
        key = spec.id if child_id is None else child_id
        decisions = self._decisions
        if decisions.state is not SupervisorState.RUNNING:
            check_accepts(self.state, key)
        check_fits(self._spec, spec, key, self._decisions.tree.children)
        sequence = decisions.sequence
        state = ChildState.STARTING if sequence is None else ChildState.PENDING
        child = Child(key, spec, state, Goal.GONE, is_dynamic=True)
        decisions.tree.insert(child)
        if sequence is None:
            return (decisions.tree.start(child),)
        sequence.members.append(child)
        return NOTHING

    def add_children(self, spec: ChildSpec, child_ids: Sequence[ChildId], now: float) -> Effects:
        """Add dynamic children that share a spec and start them; all of them, or none.

        The same as `add_child` for each, at less than half the cost, with the same errors.
        """
        self._now_s = now
        decisions, tree = self._decisions, self._decisions.tree
        if not child_ids:
            return NOTHING
        if decisions.state is not SupervisorState.RUNNING:
            check_accepts(self.state, child_ids[0])
        known = tree.children.keys()
        if len(set(child_ids)) < len(child_ids) or not known.isdisjoint(child_ids):
            seen = set(known)
            for child_id in child_ids:
                check_fits(self._spec, spec, child_id, seen)
                seen.add(child_id)
        check_fits(self._spec, spec, child_ids[0], known)
        check_room(self._spec, child_ids[-1], len(known) + len(child_ids) - 1)
        if decisions.sequence is None:
            return (tree.start_all(spec, child_ids),)
        for child_id in child_ids:
            child = Child(child_id, spec, ChildState.PENDING, Goal.GONE, is_dynamic=True)
            tree.insert(child)
            decisions.sequence.members.append(child)
        return NOTHING

    def adopt_child(
        self, spec: ChildSpec, incarnation: int, now: float, child_id: ChildId = None
    ) -> Effects:
        """Add a child that already runs. A restarted supervisor does this first.

        Raises as `add_child` does, and UsageError while a sequence runs or when the
        incarnation is in use.
        """
        self._now_s = now
        key = spec.id if child_id is None else child_id
        check_accepts(self.state, key)
        check_fits(self._spec, spec, key, self._decisions.tree.children)
        tree = self._decisions.tree
        # Incarnations are given in ascending order, so a higher one is surely free.
        in_use = incarnation <= tree.incarnations and any(
            other.incarnation == incarnation for other in tree.children.values()
        )
        if self._decisions.sequence is not None or incarnation < 1 or in_use:
            raise UsageError(
                f"Child {key!r} cannot be adopted with incarnation {incarnation}.",
                advice="Adopt right after the start, each child with its own incarnation.",
            )
        child = Child(key, spec, ChildState.RUNNING, Goal.RUN, is_dynamic=True)
        child.incarnation = incarnation
        tree.insert(child)
        tree.running += 1
        tree.incarnations = max(tree.incarnations, incarnation)
        return NOTHING

    def terminate_child(self, child_id: ChildId, now: float) -> Effects:
        """Stop a child and keep its spec, unless it is temporary. Raises ActorNotFound."""
        self._now_s = now
        child = self._find(child_id)
        is_kept = child.spec.restart is not Restart.TEMPORARY
        return self._decisions.retire(child, Goal.DOWN if is_kept else Goal.GONE, now=now)

    def remove_child(self, child_id: ChildId, now: float) -> Effects:
        """Stop a child and forget it; ends in ChildGone. Raises ActorNotFound."""
        self._now_s = now
        return self._decisions.retire(self._find(child_id), Goal.GONE, now=now)

    def restart_child(self, child_id: ChildId, now: float) -> Effects:
        """Start a child that is down. If the start fails, the child stays down.

        Raises ActorNotFound, ActorStopped when the supervisor is stopping, and UsageError
        when the child is not down.
        """
        self._now_s = now
        child = self._find(child_id)
        check_accepts(self.state, child_id)
        if child.state is not ChildState.DOWN:
            raise UsageError(
                f"Child {child_id!r} is {child.state.name.lower()}, not down.",
                advice="Terminate it first.",
                state=child.state.name,
            )
        child.goal = Goal.DOWN
        tree, sequence = self._decisions.tree, self._decisions.sequence
        if sequence is None:
            return (tree.start(child),)
        tree.move(child, ChildState.PENDING)
        sequence.members.append(child)
        return NOTHING

    # --- events: outcomes of effects ----------------------------------------------

    def child_started(self, child_id: ChildId, incarnation: int, now: float) -> Effects:
        """The child runs."""
        self._now_s = now
        decisions = self._decisions
        tree = decisions.tree
        child = tree.children.get(child_id)
        if (
            child is None
            or child.incarnation != incarnation
            or child.state is not ChildState.STARTING
        ):
            return NOTHING
        # Not through `move`: this is the hot path, and the guard above is the edge.
        child.state = ChildState.RUNNING
        child.goal = Goal.RUN
        tree.running += 1
        if child.history is not None:
            child.history.started_at_s = now
        return NOTHING if decisions.sequence is None else decisions.proceed(now)

    def children_started(
        self, child_ids: Sequence[ChildId], first_incarnation: int, now: float
    ) -> Effects:
        """These children, started together, run. The same as `child_started` for each."""
        self._now_s = now
        decisions = self._decisions
        get, running = decisions.tree.children.get, 0
        for incarnation, child_id in enumerate(child_ids, first_incarnation):
            child = get(child_id)
            if (
                child is not None
                and child.incarnation == incarnation
                and child.state is ChildState.STARTING
            ):
                child.state = ChildState.RUNNING
                child.goal = Goal.RUN
                running += 1
        decisions.tree.running += running
        return NOTHING if decisions.sequence is None else decisions.proceed(now)

    def child_start_failed(
        self, child_id: ChildId, incarnation: int, exit_: Exit, now: float
    ) -> Effects:
        """The child did not start; it never reported a start."""
        self._now_s = now
        child = self._alive(child_id, incarnation)
        if child is None or child.state is ChildState.RUNNING:
            return NOTHING
        return self._decisions.handle_exit(child, exit_, now=now)

    def child_exited(self, child_id: ChildId, incarnation: int, exit_: Exit, now: float) -> Effects:
        """The child ended, on request or by itself."""
        self._now_s = now
        child = self._alive(child_id, incarnation)
        return NOTHING if child is None else self._decisions.handle_exit(child, exit_, now=now)

    def timer_fired(self, child_id: ChildId, incarnation: int, now: float) -> Effects:
        """A back-off is over: the child, or its group, starts again."""
        self._now_s = now
        tree, sequence = self._decisions.tree, self._decisions.sequence
        if sequence is not None and sequence.is_waiting:
            if sequence.owner_key != (child_id, incarnation):
                return NOTHING
            sequence.resume()
            return self._decisions.proceed(now)
        child = tree.children.get(child_id)
        if (
            child is None
            or child.incarnation != incarnation
            or child.state is not ChildState.WAITING
        ):
            return NOTHING
        return (tree.start(child),)

    # --- views --------------------------------------------------------------------------

    @property
    def state(self) -> SupervisorState:
        """The supervisor's lifecycle state."""
        return self._decisions.state

    def __len__(self) -> int:
        return len(self._decisions.tree.children)

    def __contains__(self, child_id: ChildId) -> bool:
        return child_id in self._decisions.tree.children

    def child(self, child_id: ChildId) -> ChildView:
        """The current view of one child. Raises ActorNotFound."""
        return view_of(self._find(child_id))

    def children(self) -> Iterator[ChildView]:
        """The current views of all children, in start order."""
        return map(view_of, self._decisions.tree.children.values())

    def stop_timeouts(self) -> Iterator[tuple[ChildId, StopTimeout]]:
        """How long each child may take to stop, in start order."""
        children = self._decisions.tree.children.values()
        return ((child.id, child.spec.stop_timeout) for child in children)

    def history(self, child_id: ChildId) -> ChildHistory:
        """The last exits of a child, also of a forgotten one; empty if it never failed."""
        histories = self._decisions.histories
        return ChildHistory(child_id, ()) if histories is None else histories.of(child_id)

    def inherit(self, other: "SupervisorCore") -> None:
        """Continue the histories and the incarnations of another core of the same children.

        A report about a child that the other core started is stale here, too.
        """
        self._decisions.inherit(other._decisions)  # noqa: SLF001 -- the same class

    def statistics(self) -> SupervisorStatistics:
        """Counts, at a cost that does not depend on the number of children."""
        decisions = self._decisions
        return SupervisorStatistics(
            state=decisions.state,
            children=len(decisions.tree.children),
            running=decisions.tree.running,
            starts=decisions.tree.incarnations,
            restarts=decisions.restarts,
            restarts_recent=len(decisions.window),
            undecided=len(decisions.undecided),
            last_event_at_s=self._now_s,
        )

    def validate_state(self) -> None:
        """Check every invariant, at O(children). Raises InternalError."""
        self._decisions.validate()

    # --- finding ------------------------------------------------------------------------

    def _find(self, child_id: ChildId) -> Child:
        child = self._decisions.tree.children.get(child_id)
        if child is None:
            raise ActorNotFound(
                f"The supervisor has no child {child_id!r}.",
                advice="The supervisor forgets a child that has ended for good. Check the id.",
                may_have_run=False,
            )
        return child

    def _alive(self, child_id: ChildId, incarnation: int) -> Child | None:
        """The child, if this incarnation of it has started and has not ended."""
        child = self._decisions.tree.children.get(child_id)
        if child is None or child.incarnation != incarnation:
            return None
        is_alive = child.state in {ChildState.STARTING, ChildState.RUNNING, ChildState.STOPPING}
        return child if is_alive else None
