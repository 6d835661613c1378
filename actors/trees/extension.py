"""Trees on one host: what the host's cell 0 answers about them, and how they are started."""

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
    """The trees of one host. `make_pool` makes the recipes of pools that are declared in them."""

    def __init__(self, host: RoleHost[Cell], make_pool: MakePool) -> None:
        self._host = host
        self._remote_children = RemoteChildren(host)
        self._builder = TreeBuilder(host, self._remote_children, make_pool)
        self._tree_admin = TreeAdmin(host, self._builder)
        self.remote_child_holders: Final = RemoteChildHolders(host, self._builder)

    def begin(self, tree: TreeSpec, number: int, places: Sequence[Address]) -> Cell:
        """Begin to start a tree, whose cells take numbers from `number` on."""
        numbers = itertools.count(number)
        supervisor_cell = self._builder.build(tree, lambda: next(numbers), None, iter(places))
        self._host.spawner.begin_top_level(supervisor_cell, child_spec(tree, "tree", tree.name))
        return supervisor_cell

    # --- what becomes of other hosts ----------------------------------------------------------

    def peer_opened(self, slot: int) -> None:
        """The way to another host is open."""
        self._remote_children.opened(slot)

    def peer_lost(self, slot: int, epoch: float) -> None:
        """Another host is gone, in this incarnation and all before it."""
        self._remote_children.lost(slot, epoch)
        self.remote_child_holders.owner_lost(slot, epoch)

    def close(self) -> None:
        """Forget everything: the host is gone."""
        self._remote_children.close()
        self.remote_child_holders.close()

    # --- what is asked of cell 0 --------------------------------------------------------------

    @handler
    async def query_supervisor(self, request: QuerySupervisor) -> SupervisorView:
        """What a supervisor of a tree has, also while it starts or stops a child."""
        return self._tree_admin.look(request)

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
        return await self.remote_child_holders.start(request)

    @handler
    async def stop_remote_child(self, request: StopRemoteChild) -> RemoteChildStopped:
        """Stop a placed child."""
        return await self.remote_child_holders.stop(request)

    @handler
    async def remote_child_ended(self, told: RemoteChildEnded) -> None:
        """A placed child of a tree here has ended on its host."""
        self._remote_children.ended(told)


@final
@dataclass(frozen=True, slots=True)
class TreeStart:
    """A tree as it is shipped to the host of its outermost supervisor."""

    tree: TreeSpec

    @property
    def title(self) -> str:
        """Its name."""
        return self.tree.name

    def actors(self) -> Iterator[type[Actor]]:
        """The classes in it."""
        return _actors_in(self.tree)

    def host_terms(self) -> tuple[str, Restart, StopTimeout]:
        """Those of its outermost supervisor."""
        return self.tree.name, self.tree.restart, self.tree.stop_timeout

    def begin(self, host: RoleHost[Cell], number: int, places: Sequence[Address]) -> Cell:
        """Begin to start it."""
        return host.extension(Trees).begin(self.tree, number, places)


@final
@dataclass(frozen=True, slots=True)
class RemoteChildEntry:
    """What is shipped to put a holder on a host."""

    node: Node
    above: str
    """The path of the supervisor that the node was declared under, without the first `/`."""

    @property
    def title(self) -> str:
        """The name of its remote child."""
        return self.node.name

    def actors(self) -> Iterator[type[Actor]]:
        """The classes in it."""
        return _actors_in(self.node)

    def host_terms(self) -> tuple[str, Restart, StopTimeout]:
        """Those of its remote child."""
        return self.node.name, self.node.restart, self.node.stop_timeout

    def begin(self, host: RoleHost[Cell], number: int, places: Sequence[Address]) -> Cell:
        """Put the holder there; nothing in it is started."""
        return host.extension(Trees).remote_child_holders.begin(
            self.node, self.above, number, iter(places)
        )


def _actors_in(node: Node) -> Iterator[type[Actor]]:
    if isinstance(node, ActorSpec):
        yield node.props.actor
        return
    for child in node.children:
        if isinstance(child, ActorSpec | TreeSpec):
            yield from _actors_in(child)
