"""A supervisor: the cell of a supervisor that was declared as data.

It handles no messages. Its children's cells are made with it, under the numbers that
follow its own, and live as long as it does: through restarts of themselves, of the supervisor,
and of the host, so that references to them stay good and what waits for them stays.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import ChildId, ChildSpec, StopTimeout
from callboard.messages.core.errors import ActorStartFailed
from callboard.messages.core.ref import Address
from callboard.messages.ports import ChildRunner, SupervisorPort

from ..kernel.actor import Actor, behaviour_of
from ..kernel.cell import Cell, Lifecycle, Recipe
from ..kernel.lifecycle.children import CellChildren
from ..kernel.lifecycle.mailbox_policy import refuse_waiting
from ..kernel.ports import CellDispatcher, CellHost, Children
from .remote.proxy import RemoteChildCell, RemoteChildren
from .spec import ActorSpec, Node, RemoteChildSpec, TreeSpec, child_spec

__all__ = [
    "MakePool",
    "Supervisor",
    "SupervisorCell",
    "SupervisorChildren",
    "TreeBuilder",
    "describe_end",
]

MakePool: TypeAlias = Callable[
    [type[Actor], tuple[Any, ...], dict[str, Any] | None, str | None, int], Recipe
]
"""The recipe of a pool: its agent's class, arguments and keywords, its name and its size."""


class Supervisor(Actor):
    """What runs in a supervisor: nothing. Its family does the work."""


class TreeRecipe(Recipe):
    """How to make a supervisor."""

    __slots__ = ("spec",)

    def __init__(self, spec: TreeSpec) -> None:
        super().__init__(Supervisor, (), None, spec.name)
        self.spec = spec


class SupervisorCell(Cell):
    """One supervisor of a tree, and the cells of its children."""

    children_stop_first = False

    __slots__ = ("ended_actors", "has_run", "keeps", "members", "spec", "start_failed_by")

    def __init__(self, number: int, spec: TreeSpec, dispatcher: CellDispatcher[Cell]) -> None:
        super().__init__(number, TreeRecipe(spec), behaviour_of(Supervisor), dispatcher)
        self.spec = spec
        self.members: dict[int, tuple[Cell, ChildSpec]] = {}
        """Its children in start order, running or not; not those added by hand."""
        self.keeps = False
        """Whether a stop under way keeps what waits for the children: they come back."""
        self.has_run = False
        self.ended_actors: SupervisorPort | None = None
        """Its newest supervisor, which knows what became of the children."""
        self.start_failed_by: ActorStartFailed | None = None
        """Why its newest start failed: the failure of the child that did not start."""

    def cells_below(self) -> Iterator[Cell]:
        """All cells of the tree below it, each before its own children."""
        for member in self.declared_children():
            yield member
            if isinstance(member, SupervisorCell):
                yield from member.cells_below()

    def find(self, path: str) -> Cell | None:
        """The cell of a path below this one, such as `workers/3`; itself for the empty path."""
        cell: Cell | None = self
        for name in path.split("/") if path else ():
            members = cell.declared_children() if isinstance(cell, SupervisorCell) else ()
            cell = next((member for member in members if member.name == name), None)
            if cell is None:
                return None
        return cell

    def make_supervisor(self, runner: ChildRunner) -> SupervisorPort:
        """Who decides about its children: a supervisor of its own."""
        return self.host.make_supervisor(self.spec.supervisor, runner)

    def make_children(self, on_stopped: Callable[[Exit], None]) -> "SupervisorChildren":
        """The family of declared children."""
        return SupervisorChildren(self.host, self, on_stopped)

    def declared_children(self) -> Sequence[Cell]:
        """Its children in start order, running or not; not those added by hand."""
        return [member for member, _ in self.members.values()]

    def start(self, children: Children[Cell], incarnation: int, *, is_first: bool) -> None:
        """Start the children; it runs once they all do."""
        children = self.host.children_of(self)
        assert isinstance(children, SupervisorChildren), "made above"
        children.grow()

    def before_stop(self, *, comes_back: bool) -> None:
        """Its children come back if it does."""
        self.keeps = comes_back

    def keeps_for(self, *, is_stopping: bool) -> bool:
        """Whether a child that is stopped now keeps its messages.

        When the supervisor stops by itself, its own supervisor has yet to say what comes next.
        """
        return is_stopping and (self.lifecycle != Lifecycle.STOPPING or self.keeps)

    def keeps_children_when_killed(self) -> bool:
        """Whether its children, ended by force with it, come back with it."""
        return self.keeps_for(is_stopping=True)

    def exit_after_children(self, reason: Exit) -> Exit:
        """A supervisor that gives up, or shuts itself down, ends as OTP says."""
        return reason

    def on_children_start_failed(self, reason: Exit) -> None:
        """It did not come up."""
        failure = describe_end(self, reason)
        self.host.children_of(self.parent).mark_start_failed(
            self, failure, is_first=not self.has_run
        )


class SupervisorChildren(CellChildren):
    """The children of a supervisor: declared ones, which outlive their own ends, and added ones."""

    __slots__ = ("supervisor_cell",)

    def __init__(
        self,
        host: CellHost[Cell],
        supervisor_cell: SupervisorCell,
        on_stopped: Callable[[Exit], None],
    ) -> None:
        self.supervisor_cell = supervisor_cell
        super().__init__(host, supervisor_cell.spec.supervisor, on_stopped)

    def _make_supervisor(self) -> SupervisorPort:
        supervisor_cell = self.supervisor_cell
        supervisor = supervisor_cell.make_supervisor(self)
        if supervisor_cell.ended_actors is not None:
            supervisor.inherit(supervisor_cell.ended_actors)
        supervisor_cell.ended_actors = supervisor
        return supervisor

    def grow(self) -> None:
        """Start the children, in order; the supervisor runs once they all do."""
        supervisor_cell = self.supervisor_cell
        supervisor_cell.start_failed_by = None
        for cell in supervisor_cell.cells_below():
            # Also those that had ended for good: it is the supervisor's start that counts.
            self._host.cells[cell.id] = cell
            if cell.lifecycle == Lifecycle.STOPPED:
                cell.lifecycle = Lifecycle.STARTING
        for cell, spec in supervisor_cell.members.values():
            self.cells[cell.id] = cell
            self._names[cell.name] = cell.id
            self.supervisor.expect_child(spec)
        self.supervisor.start()

    def is_declared(self, cell: Cell) -> bool:
        """Whether a child was declared with its supervisor, and so outlives its own end."""
        return cell.id in self.supervisor_cell.members

    def stop_for_good(self, cell: Cell) -> None:
        """Refuse what waits for a declared child if it stays down: nobody knows how long."""
        is_kept = self.is_declared(cell) and cell.id in self.cells and not self._is_stopping()
        if is_kept and self.supervisor.child(cell.id).is_down:
            cell.lifecycle = Lifecycle.STOPPED
            refuse_waiting(cell)
            cell.on_stopped_for_good()

    def _is_stopping(self) -> bool:
        return str(self.supervisor.statistics().state) in {"stopping", "stopped"}

    def mark_start_failed(self, cell: Cell, failure: ActorStartFailed, *, is_first: bool) -> None:
        """The start of a child has failed, and so that of the supervisor may have."""
        self.supervisor_cell.start_failed_by = failure
        super().mark_start_failed(cell, failure, is_first=is_first)

    def stop_child(
        self,
        child: ChildId,
        incarnation: int,
        timeout: StopTimeout,
        reason: Exit,
        *,
        comes_back: bool,
    ) -> None:
        """Stop a cell in order and report it."""
        if not comes_back and child in self.supervisor_cell.members:
            comes_back = self.supervisor_cell.keeps_for(is_stopping=self._is_stopping())
        super().stop_child(child, incarnation, timeout, reason, comes_back=comes_back)

    def supervisor_started(self) -> None:
        """Every declared child runs: so does the supervisor."""
        supervisor_cell = self.supervisor_cell
        if supervisor_cell.children is self and supervisor_cell.lifecycle == Lifecycle.STARTING:
            supervisor_cell.has_run = True
            self._host.children_of(supervisor_cell.parent).mark_running(
                supervisor_cell, supervisor_cell.incarnation
            )


class TreeBuilder:
    """Makes the cells of trees on one host. It starts nothing."""

    def __init__(
        self, host: CellHost[Cell], remote_children: RemoteChildren, make_pool: MakePool
    ) -> None:
        self._host = host
        self._remote_children = remote_children
        self._make_pool = make_pool

    def build(
        self,
        node: Node | RemoteChildSpec,
        number: Callable[[], int],
        parent: Cell | None = None,
        places: Iterator[Address] = iter(()),  # noqa: B008 - empty, and stays it
    ) -> Cell:
        """The cells of a node and of all below it on this host, in the order of `parts_of`.

        `places` are the holders of the placed children. Raises `SpecError` when a class is no
        proper actor.
        """
        if isinstance(node, ActorSpec):
            cell = self._worker(node, number())
        elif isinstance(node, RemoteChildSpec):
            dispatcher = self._host.dispatcher
            cell = RemoteChildCell(number(), node, next(places), dispatcher, self._remote_children)
            for _ in range(node.below):
                next(places)  # The holder's host has them.
        else:
            cell = supervisor_cell = SupervisorCell(number(), node, self._host.dispatcher)
            self.build_below(supervisor_cell, node.children, number, places)
        cell.parent = parent
        self._host.spawner.learn(cell.behaviour)
        return cell

    def build_below(
        self,
        supervisor_cell: SupervisorCell,
        children: Iterable[Node | RemoteChildSpec],
        number: Callable[[], int],
        places: Iterator[Address],
    ) -> None:
        """The cells of the children of a supervisor, and of all below them."""
        for child in children:
            member = self.build(child, number, supervisor_cell, places)
            supervisor_cell.members[member.id] = (
                member,
                child_spec(child, member.id, supervisor_cell.spec.name),
            )

    def _worker(self, node: ActorSpec, number: int) -> Cell:
        made = node.props
        if node.size is None:
            recipe = Recipe(made.actor, made.args, made.keywords, node.name)
        else:
            recipe = self._make_pool(made.actor, made.args, made.keywords, node.name, node.size)
        return recipe.make_cell(number, self._host)


def describe_end(supervisor_cell: SupervisorCell, reason: Exit) -> ActorStartFailed:
    """The error for whoever wanted a supervisor that did not start."""
    found = supervisor_cell.start_failed_by
    if found is not None:
        return found
    return ActorStartFailed(
        f"{supervisor_cell.path} did not start: {reason.detail.get('cause', reason.kind.value)}.",
        advice="The detail tells which child ended.",
        may_have_run=False,
        path=supervisor_cell.path,
        detail=dict(reason.detail),
    )
