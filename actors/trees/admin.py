"""What is done to a tree by hand on its host: look, terminate, restart, delete, add.

The warden asks for it; a supervisor that is busy with a child keeps nobody waiting.
"""

import asyncio
from typing import Literal

from callboard.messages.control.lifecycle import SHUT_DOWN
from callboard.messages.control.spec import StopTimeout
from callboard.messages.control.trees import (
    AddChild,
    BranchView,
    ChangeChild,
    ChildAdded,
    ChildChanged,
    DeclaredChild,
    LookAtBranch,
)
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStartFailed,
    CallboardError,
    NameTaken,
    UsageError,
)

from ..kernel.cell import Cell, Life
from ..kernel.ports import RoleHost
from .remote.proxy import EnvoyCell
from .spec import ActorSpec, TreeSpec, child_spec
from .supervisor_cell import Branch, BranchFamily, TreeBuilder

__all__ = ["Gardener"]


def _kind(cell: Cell) -> Literal["supervisor", "worker"]:
    is_supervisor = (
        cell.spec.is_supervisor if isinstance(cell, EnvoyCell) else isinstance(cell, Branch)
    )
    return "supervisor" if is_supervisor else "worker"


def _family(branch: Branch) -> BranchFamily | None:
    assert branch.children is None or isinstance(branch.children, BranchFamily), "made by it"
    return branch.children


class Gardener:
    """Performs what is asked about the trees of one host."""

    def __init__(self, host: RoleHost[Cell], builder: TreeBuilder) -> None:
        self._host = host
        self._builder = builder

    def look(self, request: LookAtBranch) -> BranchView:
        """A supervisor and its children. Raises `ActorNotFound`."""
        branch = self._branch(request.cell)
        family = _family(branch)
        rows = [] if family is None else [self._row(family, branch, c) for c in self._all(branch)]
        supervisors = sum(row.kind == "supervisor" for row in rows)
        return BranchView(
            path=branch.path,
            state=branch.life.name.lower(),
            strategy=branch.spec.supervisor.strategy.value,
            children=tuple(rows),
            specs=len(rows),
            active=sum(row.state in {"running", "stopping"} for row in rows),
            supervisors=supervisors,
            workers=len(rows) - supervisors,
        )

    async def change(self, request: ChangeChild) -> ChildChanged:
        """Terminate, restart or delete one child, and wait until that is done."""
        branch = self._branch(request.cell)
        family, cell = self._child(branch, request.name)
        match request.action:
            case "terminate":
                family.supervisor.terminate_child(cell.id)
                await self._stopped(cell)
                family.lay_down(cell)
            case "restart":
                family.supervisor.restart_child(cell.id)
                await self._started(family, cell)
            case "delete":
                if cell.id in family.cells and not family.supervisor.child(cell.id).is_down:
                    raise UsageError(
                        f"{cell.path} is not down.", advice="Terminate it before you delete it."
                    )
                branch.members.pop(cell.id, None)
                family.remove(cell)
        return ChildChanged()

    async def add(self, request: AddChild) -> ChildAdded:
        """Add a child and wait until it runs. Raises `ActorStartFailed`, `NameTaken`."""
        branch = self._branch(request.cell)
        node: ActorSpec | TreeSpec = self._host.pickler.loads(request.spec)
        family = _family(branch)
        if family is None or branch.life != Life.RUNNING:
            raise UsageError(
                f"{branch.path} is {branch.life.name.lower()} and takes no child.",
                advice="Wait until it runs.",
            )
        if any(cell.name == node.name for cell in self._all(branch)):
            raise NameTaken(
                f"{branch.path}/{node.name} is there already.",
                advice="Choose another name, or delete that one.",
            )
        births = self._host.births
        cell = self._builder.build(node, births.number, branch)
        family.add(cell, child_spec(node, node.name, branch.spec.name))
        await births.outcome(cell)
        return ChildAdded(cell=cell.id)

    # --- finding ----------------------------------------------------------------------------

    def _branch(self, number: int) -> Branch:
        cell = self._host.cells.get(number)
        if not isinstance(cell, Branch):
            raise ActorNotFound(
                f"there is no supervisor {number} of a tree on {self._host.name}.",
                advice="Its tree has ended.",
                may_have_run=False,
            )
        return cell

    def _all(self, branch: Branch) -> list[Cell]:
        """Declared children that are there, then those added by hand."""
        family = _family(branch)
        return [] if family is None else list(family.cells.values())

    def _child(self, branch: Branch, name: str) -> tuple[BranchFamily, Cell]:
        family = _family(branch)
        found = [cell for cell in self._all(branch) if cell.name == name]
        if family is None or not found:
            raise ActorNotFound(
                f"{branch.path} has no child {name!r}.",
                advice="A temporary one that has ended is forgotten.",
                may_have_run=False,
            )
        return family, found[0]

    @staticmethod
    def _row(family: BranchFamily, branch: Branch, cell: Cell) -> DeclaredChild:
        view = family.supervisor.child(cell.id)
        return DeclaredChild(
            name=cell.name,
            cell=cell.id,
            kind=_kind(cell),
            state=view.state.name.lower(),
            restarts=view.restarts,
            is_dynamic=cell.id not in branch.members,
        )

    # --- waiting ----------------------------------------------------------------------------

    async def _stopped(self, cell: Cell) -> None:
        if cell.life == Life.STOPPING:
            over: asyncio.Future[None] = self._host.loop.create_future()
            # It is stopping already: this waits for the same stop, and does not shorten it.
            self._host.endings.stop(
                cell, StopTimeout.INFINITY, SHUT_DOWN, lambda _: over.set_result(None)
            )
            await asyncio.shield(over)

    async def _started(self, family: BranchFamily, cell: Cell) -> None:
        branch = family.branch
        failure: CallboardError | None = None
        if not family.supervisor.child(cell.id).is_down:
            try:
                await family.started(cell)
            except ActorStartFailed as error:
                failure = error
        elif branch.start_failed_by is not None:
            failure = branch.start_failed_by
        if failure is not None:
            raise failure
