"""A branch: the cell of a supervisor that was declared as data.

It handles no messages. Its children's cells are made with it, under the numbers that
follow its own, and live as long as it does: through restarts of themselves, of the branch,
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
from ..kernel.cell import Cell, Life, Recipe
from ..kernel.lifecycle.children import Family
from ..kernel.lifecycle.mailbox_policy import refuse_waiting
from ..kernel.ports import CellDispatcher, CellHost, Children
from .remote.proxy import EnvoyCell, Envoys
from .spec import ActorSpec, Elsewhere, Node, TreeSpec, child_spec

__all__ = ["Branch", "BranchFamily", "MakePool", "Supervisor", "TreeBuilder", "describe_end"]

MakePool: TypeAlias = Callable[
    [type[Actor], tuple[Any, ...], dict[str, Any] | None, str | None, int], Recipe
]
"""The recipe of a pool: its agent's class, arguments and keywords, its name and its size."""


class Supervisor(Actor):
    """What runs in a branch: nothing. Its family does the work."""


class TreeRecipe(Recipe):
    """How to make a branch."""

    __slots__ = ("spec",)

    def __init__(self, spec: TreeSpec) -> None:
        super().__init__(Supervisor, (), None, spec.name)
        self.spec = spec


class Branch(Cell):
    """One supervisor of a tree, and the cells of its children."""

    children_stop_first = False

    __slots__ = ("has_run", "keeps", "members", "past", "spec", "start_failed_by")

    def __init__(self, number: int, spec: TreeSpec, dispatcher: CellDispatcher[Cell]) -> None:
        super().__init__(number, TreeRecipe(spec), behaviour_of(Supervisor), dispatcher)
        self.spec = spec
        self.members: dict[int, tuple[Cell, ChildSpec]] = {}
        """Its children in start order, running or not; not those added by hand."""
        self.keeps = False
        """Whether a stop under way keeps what waits for the children: they come back."""
        self.has_run = False
        self.past: SupervisorPort | None = None
        """Its newest supervisor, which knows what became of the children."""
        self.start_failed_by: ActorStartFailed | None = None
        """Why its newest start failed: the failure of the child that did not start."""

    def cells_below(self) -> Iterator[Cell]:
        """All cells of the tree below it, each before its own children."""
        for member in self.declared():
            yield member
            if isinstance(member, Branch):
                yield from member.cells_below()

    def find(self, path: str) -> Cell | None:
        """The cell of a path below this one, such as `workers/3`; itself for the empty path."""
        cell: Cell | None = self
        for name in path.split("/") if path else ():
            members = cell.declared() if isinstance(cell, Branch) else ()
            cell = next((member for member in members if member.name == name), None)
            if cell is None:
                return None
        return cell

    def make_supervisor(self, runner: ChildRunner) -> SupervisorPort:
        """Who decides about its children: a supervisor of its own."""
        return self.host.make_supervisor(self.spec.supervisor, runner)

    def make_children(self, on_stopped: Callable[[Exit], None]) -> "BranchFamily":
        """The family of declared children."""
        return BranchFamily(self.host, self, on_stopped)

    def declared(self) -> Sequence[Cell]:
        """Its children in start order, running or not; not those added by hand."""
        return [member for member, _ in self.members.values()]

    def start(self, family: Children[Cell], incarnation: int, *, is_first: bool) -> None:
        """Start the children; it runs once they all do."""
        children = self.host.family_of(self)
        assert isinstance(children, BranchFamily), "made above"
        children.grow()

    def stops(self, *, comes_back: bool) -> None:
        """Its children come back if it does."""
        self.keeps = comes_back

    def keeps_for(self, *, is_stopping: bool) -> bool:
        """Whether a child that is stopped now keeps its messages.

        When the branch stops by itself, its own supervisor has yet to say what comes next.
        """
        return is_stopping and (self.life != Life.STOPPING or self.keeps)

    def keeps_children(self) -> bool:
        """Whether its children, ended by force with it, come back with it."""
        return self.keeps_for(is_stopping=True)

    def children_gave_up(self, reason: Exit) -> Exit:
        """A supervisor that gives up, or shuts itself down, ends as OTP says."""
        return reason

    def children_did_not_start(self, reason: Exit) -> None:
        """It did not come up."""
        failure = describe_end(self, reason)
        self.host.family_of(self.parent).did_not_start(self, failure, is_first=not self.has_run)


class BranchFamily(Family):
    """The children of a branch: declared ones, which outlive their own ends, and added ones."""

    __slots__ = ("branch",)

    def __init__(
        self, host: CellHost[Cell], branch: Branch, on_stopped: Callable[[Exit], None]
    ) -> None:
        self.branch = branch
        super().__init__(host, branch.spec.supervisor, on_stopped)

    def _make_supervisor(self) -> SupervisorPort:
        branch = self.branch
        supervisor = branch.make_supervisor(self)
        if branch.past is not None:
            supervisor.inherit(branch.past)
        branch.past = supervisor
        return supervisor

    def grow(self) -> None:
        """Start the children, in order; the branch runs once they all do."""
        branch = self.branch
        branch.start_failed_by = None
        for cell in branch.cells_below():
            # Also those that had ended for good: it is the branch's start that counts.
            self._host.cells[cell.id] = cell
            if cell.life == Life.STOPPED:
                cell.life = Life.STARTING
        for cell, spec in branch.members.values():
            self.cells[cell.id] = cell
            self._names[cell.name] = cell.id
            self.supervisor.expect_child(spec)
        self.supervisor.start()

    def is_member(self, cell: Cell) -> bool:
        """Whether a child was declared with its branch, and so outlives its own end."""
        return cell.id in self.branch.members

    def lay_down(self, cell: Cell) -> None:
        """Refuse what waits for a declared child if it stays down: nobody knows how long."""
        is_kept = self.is_member(cell) and cell.id in self.cells and not self._is_stopping()
        if is_kept and self.supervisor.child(cell.id).is_down:
            cell.life = Life.STOPPED
            refuse_waiting(cell)
            cell.laid_down()

    def _is_stopping(self) -> bool:
        return str(self.supervisor.statistics().state) in {"stopping", "stopped"}

    def did_not_start(self, cell: Cell, failure: ActorStartFailed, *, is_first: bool) -> None:
        """The start of a child has failed, and so that of the branch may have."""
        self.branch.start_failed_by = failure
        super().did_not_start(cell, failure, is_first=is_first)

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
        if not comes_back and child in self.branch.members:
            comes_back = self.branch.keeps_for(is_stopping=self._is_stopping())
        super().stop_child(child, incarnation, timeout, reason, comes_back=comes_back)

    def supervisor_started(self) -> None:
        """Every declared child runs: so does the branch."""
        branch = self.branch
        if branch.children is self and branch.life == Life.STARTING:
            branch.has_run = True
            self._host.family_of(branch.parent).runs(branch, branch.incarnation)


class TreeBuilder:
    """Makes the cells of trees on one host. It starts nothing."""

    def __init__(self, host: CellHost[Cell], envoys: Envoys, make_pool: MakePool) -> None:
        self._host = host
        self._envoys = envoys
        self._make_pool = make_pool

    def build(
        self,
        node: Node | Elsewhere,
        number: Callable[[], int],
        parent: Cell | None = None,
        places: Iterator[Address] = iter(()),  # noqa: B008 - empty, and stays it
    ) -> Cell:
        """The cells of a node and of all below it on this host, in the order of `parts_of`.

        `places` are the lodges of the placed children. Raises `SpecError` when a class is no
        proper actor.
        """
        if isinstance(node, ActorSpec):
            cell = self._worker(node, number())
        elif isinstance(node, Elsewhere):
            dispatcher = self._host.dispatcher
            cell = EnvoyCell(number(), node, next(places), dispatcher, self._envoys)
            for _ in range(node.below):
                next(places)  # The lodge's host has them.
        else:
            cell = branch = Branch(number(), node, self._host.dispatcher)
            self.build_below(branch, node.children, number, places)
        cell.parent = parent
        self._host.births.learn(cell.behaviour)
        return cell

    def build_below(
        self,
        branch: Branch,
        children: Iterable[Node | Elsewhere],
        number: Callable[[], int],
        places: Iterator[Address],
    ) -> None:
        """The cells of the children of a branch, and of all below them."""
        for child in children:
            member = self.build(child, number, branch, places)
            branch.members[member.id] = (member, child_spec(child, member.id, branch.spec.name))

    def _worker(self, node: ActorSpec, number: int) -> Cell:
        made = node.props
        if node.size is None:
            recipe = Recipe(made.actor, made.args, made.keywords, node.name)
        else:
            recipe = self._make_pool(made.actor, made.args, made.keywords, node.name, node.size)
        return recipe.make_cell(number, self._host)


def describe_end(branch: Branch, reason: Exit) -> ActorStartFailed:
    """The error for whoever wanted a branch that did not start."""
    found = branch.start_failed_by
    if found is not None:
        return found
    return ActorStartFailed(
        f"{branch.path} did not start: {reason.detail.get('cause', reason.kind.value)}.",
        advice="The detail tells which child ended.",
        may_have_run=False,
        path=branch.path,
        detail=dict(reason.detail),
    )
