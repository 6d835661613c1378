"""The cell of a supervisor in a declared tree.

It handles no messages. Its children's cells are made with it, with the numbers that follow
its own, and exist as long as it does. They outlast restarts of the child and of the supervisor,
so references to children stay valid and their waiting messages stay.
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
    "start_error",
]

MakePool: TypeAlias = Callable[
    [type[Actor], tuple[Any, ...], dict[str, Any] | None, str | None, int], Recipe
]
"""Makes the recipe of a pool from its agent's class, arguments and keywords, name and size."""


class Supervisor(Actor):
    """The actor of a supervisor cell: it does nothing. The children runner does the work."""


class TreeRecipe(Recipe):
    """How to make a supervisor cell."""

    __slots__ = ("spec",)

    def __init__(self, spec: TreeSpec) -> None:
        super().__init__(Supervisor, (), None, spec.name)
        self.spec = spec


class SupervisorCell(Cell):
    """One supervisor of a tree, and the cells of its children."""

    children_stop_first = False

    __slots__ = (
        "has_run",
        "keeps_messages",
        "last_supervisor",
        "members",
        "spec",
        "start_failed_by",
    )

    def __init__(self, number: int, spec: TreeSpec, dispatcher: CellDispatcher[Cell]) -> None:
        super().__init__(number, TreeRecipe(spec), behaviour_of(Supervisor), dispatcher)
        self.spec = spec
        self.members: dict[int, tuple[Cell, ChildSpec]] = {}
        """The declared children in start order, running or not."""
        self.keeps_messages = False
        """Whether the running stop keeps the children's messages, because they come back."""
        self.has_run = False
        self.last_supervisor: SupervisorPort | None = None
        """Its newest supervisor, which has the histories of the children."""
        self.start_failed_by: ActorStartFailed | None = None
        """The failure of the child that made its newest start fail."""

    def cells_below(self) -> Iterator[Cell]:
        """All cells of the tree below it, each before its own children."""
        for member in self.declared_children():
            yield member
            if isinstance(member, SupervisorCell):
                yield from member.cells_below()

    def find(self, path: str) -> Cell | None:
        """The cell at a path below this one, such as `workers/3`; itself for the empty path."""
        cell: Cell | None = self
        for name in path.split("/") if path else ():
            members = cell.declared_children() if isinstance(cell, SupervisorCell) else ()
            cell = next((member for member in members if member.name == name), None)
            if cell is None:
                return None
        return cell

    def make_supervisor(self, runner: ChildRunner) -> SupervisorPort:
        """Make the supervisor that decides about its children."""
        return self.host.make_supervisor(self.spec.supervisor, runner)

    def make_children(self, on_stopped: Callable[[Exit], None]) -> "SupervisorChildren":
        """Make the runner of its children."""
        return SupervisorChildren(self.host, self, on_stopped)

    def declared_children(self) -> Sequence[Cell]:
        """The declared children in start order, running or not."""
        return [member for member, _ in self.members.values()]

    def start(self, children: Children[Cell], incarnation: int, *, is_first: bool) -> None:
        """Start the children; the supervisor runs once all of them do."""
        children = self.host.children_of(self)
        assert isinstance(children, SupervisorChildren), "see make_children"
        children.start_members()

    def before_stop(self, *, comes_back: bool) -> None:
        """Note whether it comes back, and its children with it."""
        self.keeps_messages = comes_back

    def keeps_child_messages(self, *, is_stopping: bool) -> bool:
        """Whether a child that stops now keeps its messages.

        When the supervisor stops by itself, its parent decides later whether it comes back.
        """
        return is_stopping and (self.lifecycle != Lifecycle.STOPPING or self.keeps_messages)

    def keeps_children_when_killed(self) -> bool:
        """Whether its children, killed with it, come back with it."""
        return self.keeps_child_messages(is_stopping=True)

    def exit_after_children(self, reason: Exit) -> Exit:
        """The exit of a supervisor that gives up or shuts itself down, as in OTP."""
        return reason

    def on_children_start_failed(self, reason: Exit) -> None:
        """Report to the parent that the supervisor did not start."""
        failure = start_error(self, reason)
        self.host.children_of(self.parent).mark_start_failed(
            self, failure, is_first=not self.has_run
        )


class SupervisorChildren(CellChildren):
    """The children of a supervisor: declared children, whose cells stay, and added children."""

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
        if supervisor_cell.last_supervisor is not None:
            supervisor.inherit(supervisor_cell.last_supervisor)
        supervisor_cell.last_supervisor = supervisor
        return supervisor

    def start_members(self) -> None:
        """Start the declared children, in order; the supervisor runs once all of them do."""
        supervisor_cell = self.supervisor_cell
        supervisor_cell.start_failed_by = None
        for cell in supervisor_cell.cells_below():
            # Even those that had stopped for good: a start of the supervisor starts all.
            self._host.cells[cell.id] = cell
            if cell.lifecycle == Lifecycle.STOPPED:
                cell.lifecycle = Lifecycle.STARTING
        for cell, spec in supervisor_cell.members.values():
            self.cells[cell.id] = cell
            self._names[cell.name] = cell.id
            self.supervisor.expect_child(spec)
        self.supervisor.start()

    def is_declared(self, cell: Cell) -> bool:
        """Whether a child was declared with its supervisor, so its cell stays when it ends."""
        return cell.id in self.supervisor_cell.members

    def stop_for_good(self, cell: Cell) -> None:
        """Refuse the messages that wait for a declared child, if the child stays down."""
        is_kept = self.is_declared(cell) and cell.id in self.cells and not self._is_stopping()
        if is_kept and self.supervisor.child(cell.id).is_down:
            cell.lifecycle = Lifecycle.STOPPED
            refuse_waiting(cell)
            cell.on_stopped_for_good()

    def _is_stopping(self) -> bool:
        return str(self.supervisor.statistics().state) in {"stopping", "stopped"}

    def mark_start_failed(self, cell: Cell, failure: ActorStartFailed, *, is_first: bool) -> None:
        """Note the failed start of a child, which may fail the start of the supervisor."""
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
        """Stop a cell in order and report its exit."""
        if not comes_back and child in self.supervisor_cell.members:
            comes_back = self.supervisor_cell.keeps_child_messages(is_stopping=self._is_stopping())
        super().stop_child(child, incarnation, timeout, reason, comes_back=comes_back)

    def supervisor_started(self) -> None:
        """Every declared child runs, so the supervisor does."""
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
        places: Iterator[Address] = iter(()),  # noqa: B008 - empty, and stays empty
    ) -> Cell:
        """Make the cells of a node and of all nodes below it on this host, as `parts_of` orders.

        `places` are the holders of the placed children. Raises `SpecError` when a class is not
        a valid actor.
        """
        if isinstance(node, ActorSpec):
            cell = self._worker(node, number())
        elif isinstance(node, RemoteChildSpec):
            dispatcher = self._host.dispatcher
            cell = RemoteChildCell(number(), node, next(places), dispatcher, self._remote_children)
            for _ in range(node.below):
                next(places)  # They are on the holder's host.
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
        """Make the cells of a supervisor's children, and of all nodes below them."""
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


def start_error(supervisor_cell: SupervisorCell, reason: Exit) -> ActorStartFailed:
    """The error of a supervisor that did not start."""
    found = supervisor_cell.start_failed_by
    if found is not None:
        return found
    return ActorStartFailed(
        f"{supervisor_cell.path} did not start: {reason.detail.get('cause', reason.kind.value)}.",
        advice="The detail names the child that ended: see its error.",
        may_have_run=False,
        path=supervisor_cell.path,
        detail=dict(reason.detail),
    )
