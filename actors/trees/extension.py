"""Trees on one host: their start, and the requests about them that cell 0 answers."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

from callboard.messages.control.spec import Restart, StopTimeout
from callboard.messages.control.trees import (
    AddChild,
    ChangeChild,
    ChildAdded,
    ChildChanged,
    QuerySupervisor,
    RemoteChildEnded,
    RemoteChildStarted,
    RemoteChildStopped,
    StartRemoteChild,
    StopRemoteChild,
    SupervisorView,
)
from callboard.messages.core.ref import Address

from ..kernel.actor import Actor, handler
from ..kernel.cell import Cell
from ..kernel.host.extension import Extension
from ..kernel.ports import RoleHost
from .admin import TreeAdmin
from .remote.holder import RemoteChildHolders
from .remote.proxy import RemoteChildren
from .spec import ActorSpec, Node, TreeSpec, child_spec
from .supervisor_cell import MakePool, TreeBuilder

__all__ = ["RemoteChildEntry", "TreeStart", "Trees"]


class Trees(Extension):
    """The trees of one host. `make_pool` makes the recipes of the pools that trees declare."""

    def __init__(self, host: RoleHost[Cell], make_pool: MakePool) -> None:
        self._host = host
        self._remote_children = RemoteChildren(host)
        self._builder = TreeBuilder(host, self._remote_children, make_pool)
        self._tree_admin = TreeAdmin(host, self._builder)
        self.holders: Final = RemoteChildHolders(host, self._builder)

    def begin(self, tree: TreeSpec, number: int, places: Sequence[Address]) -> Cell:
        """Begin to start a tree. Its cells have consecutive numbers from `number` on."""
        numbers = itertools.count(number)
        supervisor_cell = self._builder.build(tree, lambda: next(numbers), None, iter(places))
        self._host.spawner.begin_top_level(supervisor_cell, child_spec(tree, "tree", tree.name))
        return supervisor_cell

    # --- events of other hosts ----------------------------------------------------------------

    def peer_opened(self, slot: int) -> None:
        """The link to another host is open."""
        self._remote_children.host_connected(slot)

    def peer_lost(self, slot: int, epoch: float) -> None:
        """This incarnation of another host, and all before it, are lost."""
        self._remote_children.host_lost(slot, epoch)
        self.holders.owner_lost(slot, epoch)

    def close(self) -> None:
        """Forget everything: the host has ended."""
        self._remote_children.close()
        self.holders.close()

    # --- requests to cell 0 -------------------------------------------------------------------

    @handler
    async def query_supervisor(self, request: QuerySupervisor) -> SupervisorView:
        """The children of a supervisor, even while it starts or stops one."""
        return self._tree_admin.view(request)

    @handler
    async def change_child(self, request: ChangeChild) -> ChildChanged:
        """Terminate, restart or delete a child of a tree by hand."""
        return await self._tree_admin.change(request)

    @handler
    async def add_child(self, request: AddChild) -> ChildAdded:
        """Add a child to a tree by hand."""
        return await self._tree_admin.add(request)

    @handler
    async def start_remote_child(self, request: StartRemoteChild) -> RemoteChildStarted:
        """Start a placed child of a tree whose supervisor is on another host."""
        return await self.holders.start(request)

    @handler
    async def stop_remote_child(self, request: StopRemoteChild) -> RemoteChildStopped:
        """Stop a placed child."""
        return await self.holders.stop(request)

    @handler
    async def remote_child_ended(self, notice: RemoteChildEnded) -> None:
        """A placed child of a tree on this host has ended on its own host."""
        self._remote_children.child_ended(notice)


@final
@dataclass(frozen=True, slots=True)
class TreeStart:
    """A tree on its way to the host of its outermost supervisor."""

    tree: TreeSpec

    @property
    def title(self) -> str:
        """Its name."""
        return self.tree.name

    def actors(self) -> Iterator[type[Actor]]:
        """The classes in it."""
        return _actors_in(self.tree)

    def host_terms(self) -> tuple[str, Restart, StopTimeout]:
        """Name, restart type and stop timeout of its outermost supervisor."""
        return self.tree.name, self.tree.restart, self.tree.stop_timeout

    def begin(self, host: RoleHost[Cell], number: int, places: Sequence[Address]) -> Cell:
        """Begin to start it."""
        return host.extension(Trees).begin(self.tree, number, places)


@final
@dataclass(frozen=True, slots=True)
class RemoteChildEntry:
    """A holder on its way to the host of its remote child."""

    node: Node
    parent_path: str
    """The path of the supervisor that the node was declared under, without the first `/`."""

    @property
    def title(self) -> str:
        """The name of its remote child."""
        return self.node.name

    def actors(self) -> Iterator[type[Actor]]:
        """The classes in it."""
        return _actors_in(self.node)

    def host_terms(self) -> tuple[str, Restart, StopTimeout]:
        """Name, restart type and stop timeout of its remote child."""
        return self.node.name, self.node.restart, self.node.stop_timeout

    def begin(self, host: RoleHost[Cell], number: int, places: Sequence[Address]) -> Cell:
        """Add the holder to the host; the remote child does not start yet."""
        return host.extension(Trees).holders.begin(
            self.node, self.parent_path, number, iter(places)
        )


def _actors_in(node: Node) -> Iterator[type[Actor]]:
    if isinstance(node, ActorSpec):
        yield node.props.actor
        return
    for child in node.children:
        if isinstance(child, ActorSpec | TreeSpec):
            yield from _actors_in(child)
