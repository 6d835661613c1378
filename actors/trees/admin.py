"""Changes of a tree by hand, on its host: view, terminate, restart, delete, add.

The control actor answers these requests, even while the supervisor starts or stops a child.
"""

import asyncio
from typing import Literal

from callboard.messages.control.lifecycle import SHUT_DOWN
from callboard.messages.control.spec import StopTimeout
from callboard.messages.control.trees import (
    AddChild,
    ChangeChild,
    ChildAdded,
    ChildChanged,
    DeclaredChild,
    QuerySupervisor,
    SupervisorView,
)
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStartFailed,
    CallboardError,
    NameTaken,
    UsageError,
)

from ..kernel.cell import Cell, Lifecycle
from ..kernel.ports import RoleHost
from .remote.proxy import RemoteChildCell
from .spec import ActorSpec, TreeSpec, child_spec
from .supervisor_cell import SupervisorCell, SupervisorChildren, TreeBuilder

__all__ = ["TreeAdmin"]


def _kind(cell: Cell) -> Literal["supervisor", "worker"]:
    is_supervisor = (
        cell.spec.is_supervisor
        if isinstance(cell, RemoteChildCell)
        else isinstance(cell, SupervisorCell)
    )
    return "supervisor" if is_supervisor else "worker"


def _children(supervisor_cell: SupervisorCell) -> SupervisorChildren | None:
    assert supervisor_cell.children is None or isinstance(
        supervisor_cell.children, SupervisorChildren
    ), "a supervisor cell makes these"
    return supervisor_cell.children


class TreeAdmin:
    """Answers requests about the trees of one host."""

    def __init__(self, host: RoleHost[Cell], builder: TreeBuilder) -> None:
        self._host = host
        self._builder = builder

    def view(self, request: QuerySupervisor) -> SupervisorView:
        """The view of a supervisor and its children. Raises `ActorNotFound`."""
        supervisor_cell = self._supervisor_cell(request.cell)
        children = _children(supervisor_cell)
        rows = (
            []
            if children is None
            else [self._row(children, supervisor_cell, c) for c in self._all(supervisor_cell)]
        )
        supervisors = sum(row.kind == "supervisor" for row in rows)
        return SupervisorView(
            path=supervisor_cell.path,
            state=supervisor_cell.lifecycle.name.lower(),
            strategy=supervisor_cell.spec.supervisor.strategy.value,
            children=tuple(rows),
            specs=len(rows),
            active=sum(row.state in {"running", "stopping"} for row in rows),
            supervisors=supervisors,
            workers=len(rows) - supervisors,
        )

    async def change(self, request: ChangeChild) -> ChildChanged:
        """Terminate, restart or delete one child, and wait for the outcome."""
        supervisor_cell = self._supervisor_cell(request.cell)
        children, cell = self._child(supervisor_cell, request.name)
        match request.action:
            case "terminate":
                children.supervisor.terminate_child(cell.id)
                await self._wait_until_stopped(cell)
                children.stop_for_good(cell)
            case "restart":
                children.supervisor.restart_child(cell.id)
                await self._wait_until_started(children, cell)
            case "delete":
                if cell.id in children.cells and not children.supervisor.child(cell.id).is_down:
                    raise UsageError(
                        f"{cell.path} is not down.", advice="Terminate it before you delete it."
                    )
                supervisor_cell.members.pop(cell.id, None)
                children.remove(cell)
        return ChildChanged()

    async def add(self, request: AddChild) -> ChildAdded:
        """Add a child and wait until it runs. Raises `ActorStartFailed`, `NameTaken`."""
        supervisor_cell = self._supervisor_cell(request.cell)
        node: ActorSpec | TreeSpec = self._host.pickler.loads(request.spec)
        children = _children(supervisor_cell)
        if children is None or supervisor_cell.lifecycle != Lifecycle.RUNNING:
            raise UsageError(
                f"{supervisor_cell.path} cannot add a child while it is "
                f"{supervisor_cell.lifecycle.name.lower()}.",
                advice="Try again when the supervisor runs.",
            )
        if any(cell.name == node.name for cell in self._all(supervisor_cell)):
            raise NameTaken(
                f"{supervisor_cell.path}/{node.name} already exists.",
                advice="Choose another name, or delete that child first.",
            )
        spawner = self._host.spawner
        cell = self._builder.build(node, spawner.next_number, supervisor_cell)
        children.add(cell, child_spec(node, node.name, supervisor_cell.spec.name))
        await spawner.outcome(cell)
        return ChildAdded(cell=cell.id)

    # --- finding ----------------------------------------------------------------------------

    def _supervisor_cell(self, number: int) -> SupervisorCell:
        cell = self._host.cells.get(number)
        if not isinstance(cell, SupervisorCell):
            raise ActorNotFound(
                f"{self._host.name} has no supervisor cell {number}.",
                advice="Its tree has ended: start it again.",
                may_have_run=False,
            )
        return cell

    def _all(self, supervisor_cell: SupervisorCell) -> list[Cell]:
        """The declared children that exist, then those added by hand."""
        children = _children(supervisor_cell)
        return [] if children is None else list(children.cells.values())

    def _child(self, supervisor_cell: SupervisorCell, name: str) -> tuple[SupervisorChildren, Cell]:
        children = _children(supervisor_cell)
        found = [cell for cell in self._all(supervisor_cell) if cell.name == name]
        if children is None or not found:
            raise ActorNotFound(
                f"{supervisor_cell.path} has no child {name!r}.",
                advice="Check the name. A supervisor forgets a temporary child that has ended.",
                may_have_run=False,
            )
        return children, found[0]

    @staticmethod
    def _row(
        children: SupervisorChildren, supervisor_cell: SupervisorCell, cell: Cell
    ) -> DeclaredChild:
        view = children.supervisor.child(cell.id)
        return DeclaredChild(
            name=cell.name,
            cell=cell.id,
            kind=_kind(cell),
            state=view.state.name.lower(),
            restarts=view.restarts,
            is_dynamic=cell.id not in supervisor_cell.members,
        )

    # --- waiting ----------------------------------------------------------------------------

    async def _wait_until_stopped(self, cell: Cell) -> None:
        if cell.lifecycle == Lifecycle.STOPPING:
            stopped: asyncio.Future[None] = self._host.loop.create_future()
            # The cell already stops: this waits for the same stop, and does not shorten it.
            self._host.termination.stop(
                cell, StopTimeout.INFINITY, SHUT_DOWN, lambda _: stopped.set_result(None)
            )
            await asyncio.shield(stopped)

    async def _wait_until_started(self, children: SupervisorChildren, cell: Cell) -> None:
        supervisor_cell = children.supervisor_cell
        failure: CallboardError | None = None
        if not children.supervisor.child(cell.id).is_down:
            try:
                await children.wait_started(cell)
            except ActorStartFailed as error:
                failure = error
        elif supervisor_cell.start_failed_by is not None:
            failure = supervisor_cell.start_failed_by
        if failure is not None:
            raise failure
