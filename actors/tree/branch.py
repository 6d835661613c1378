"""A branch: the cell of a supervisor that was declared as data.

It handles no messages. Its children's cells are made with it, under the numbers that
follow its own, and live as long as it does: through restarts of themselves, of the branch,
and of the host, so that references to them stay good and what waits for them stays.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from callboard.messages.errors import ActorStartFailed
from callboard.messages.lifecycle import Exit
from callboard.messages.ports import ChildRunner, SupervisorPort
from callboard.messages.ref import Address
from callboard.messages.spec import ChildSpec

from ..actor import Actor, behaviour_of
from ..cell import Cell, Life, Recipe
from ..shard import PoolRecipe, Shard
from .envoy import EnvoyCell
from .spec import ActorSpec, Elsewhere, Node, TreeSpec, child_spec

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher

__all__ = ["Branch", "Supervisor", "describe_end", "plant", "plant_below"]


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

    __slots__ = ("has_run", "keeps", "members", "past", "spec", "start_failure")

    def __init__(self, number: int, spec: TreeSpec, dispatcher: "Dispatcher") -> None:
        super().__init__(number, TreeRecipe(spec), behaviour_of(Supervisor), dispatcher)
        self.spec = spec
        self.members: dict[int, tuple[Cell, ChildSpec]] = {}
        """Its children in start order, running or not; not those added by hand."""
        self.keeps = False
        """Whether a stop under way keeps what waits for the children: they come back."""
        self.has_run = False
        self.past: SupervisorPort | None = None
        """Its newest supervisor, which knows what became of the children."""
        self.start_failure: ActorStartFailed | None = None
        """Why its newest start failed: the failure of the child that did not start."""

    def cells_below(self) -> Iterator[Cell]:
        """All cells of the tree below it, each before its own children."""
        for member, _ in self.members.values():
            yield member
            if isinstance(member, Branch):
                yield from member.cells_below()

    def find(self, path: str) -> Cell | None:
        """The cell of a path below this one, such as `workers/3`; itself for the empty path."""
        cell: Cell | None = self
        for name in path.split("/") if path else ():
            members = cell.members.values() if isinstance(cell, Branch) else ()
            cell = next((member for member, _ in members if member.name == name), None)
            if cell is None:
                return None
        return cell

    def make_supervisor(self, runner: ChildRunner) -> SupervisorPort:
        """Who decides about its children: a supervisor of its own."""
        return self.dispatcher.host.make_supervisor(self.spec.supervisor, runner)

    def keeps_for(self, *, is_stopping: bool) -> bool:
        """Whether a child that is stopped now keeps its messages.

        When the branch stops by itself, its own supervisor has yet to say what comes next.
        """
        return is_stopping and (self.life != Life.STOPPING or self.keeps)


def plant(
    node: Node | Elsewhere,
    number: Callable[[], int],
    dispatcher: "Dispatcher",
    parent: Cell | None = None,
    places: Iterator[Address] = iter(()),  # noqa: B008 - empty, and stays it
) -> Cell:
    """The cells of a node and of all below it on this host, in the order of `spec.parts_of`.

    `places` are the lodges of the placed children. Nothing is started. Raises `SpecError`
    when a class is no proper actor.
    """
    if isinstance(node, ActorSpec):
        cell = _worker(node, number(), dispatcher)
    elif isinstance(node, Elsewhere):
        cell = EnvoyCell(number(), node, next(places), dispatcher)
        for _ in range(node.below):
            next(places)  # The lodge's host has them.
    else:
        cell = branch = Branch(number(), node, dispatcher)
        plant_below(branch, node.children, number, places)
    cell.parent = parent
    return cell


def plant_below(
    branch: Branch,
    children: Iterable[Node | Elsewhere],
    number: Callable[[], int],
    places: Iterator[Address],
) -> None:
    """The cells of the children of a branch, and of all below them."""
    for child in children:
        member = plant(child, number, branch.dispatcher, branch, places)
        branch.members[member.id] = (member, child_spec(child, member.id, branch.spec.name))


def _worker(node: ActorSpec, number: int, dispatcher: "Dispatcher") -> Cell:
    made = node.props
    behaviour = behaviour_of(made.actor)
    if node.size is None:
        recipe = Recipe(made.actor, made.args, made.keywords, node.name)
        return Cell(number, recipe, behaviour, dispatcher)
    pool = PoolRecipe(made.actor, made.args, made.keywords, node.name, node.size)
    return Shard(number, pool, behaviour, dispatcher)


def describe_end(branch: Branch, reason: Exit) -> ActorStartFailed:
    """The error for whoever wanted a branch that did not start."""
    found = branch.start_failure
    if found is not None:
        return found
    return ActorStartFailed(
        f"{branch.path} did not start: {reason.detail.get('cause', reason.kind.value)}.",
        advice="The detail tells which child ended.",
        may_have_run=False,
        path=branch.path,
        detail=dict(reason.detail),
    )
