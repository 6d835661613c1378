"""A branch: the cell of a supervisor that was declared as data.

It handles no messages. Its children's cells are made with it, under the numbers that
follow its own, and live as long as it does: through restarts of themselves, of the branch,
and of the host, so that references to them stay good and what waits for them stays.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from callboard.messages.errors import ActorStartFailed
from callboard.messages.lifecycle import Exit
from callboard.messages.ports import SupervisorPort
from callboard.messages.spec import ChildSpec

from ..actor import Actor, behaviour_of
from ..cell import Cell, Life, Recipe
from ..shard import PoolRecipe, Shard
from .spec import ActorSpec, Node, TreeSpec, child_spec

if TYPE_CHECKING:
    from ..dispatcher import Dispatcher

__all__ = ["Branch", "Supervisor", "describe_end", "plant"]


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

    def keeps_for(self, *, is_stopping: bool) -> bool:
        """Whether a child that is stopped now keeps its messages.

        When the branch stops by itself, its own supervisor has yet to say what comes next.
        """
        return is_stopping and (self.life != Life.STOPPING or self.keeps)


def plant(
    node: Node, number: Callable[[], int], dispatcher: "Dispatcher", parent: Cell | None = None
) -> Cell:
    """The cells of a node and of all below it, numbered in the order of `spec.walk`.

    Nothing is started. Raises `SpecError` when a class is no proper actor.
    """
    if isinstance(node, ActorSpec):
        cell = _worker(node, number(), dispatcher)
    else:
        cell = branch = Branch(number(), node, dispatcher)
        for child in node.children:
            member = plant(child, number, dispatcher, branch)
            branch.members[member.id] = (member, child_spec(child, member.id, node.name))
    cell.parent = parent
    return cell


def _worker(node: ActorSpec, number: int, dispatcher: "Dispatcher") -> Cell:
    behaviour = behaviour_of(node.actor)
    keywords = dict(node.keywords) or None
    if node.size is None:
        recipe = Recipe(node.actor, node.args, keywords, node.name)
        return Cell(number, recipe, behaviour, dispatcher)
    pool = PoolRecipe(node.actor, node.args, keywords, node.name, node.size)
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
