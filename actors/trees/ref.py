"""A running tree as its starter sees it: references to its actors, and what is done by hand."""

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.trees import AddChild, ChangeChild, QuerySupervisor, SupervisorView
from callboard.messages.core.errors import SpecError
from callboard.messages.core.ref import Address, Ref

from .spec import Node, TreeSpec, check_child, check_ships, walk

if TYPE_CHECKING:
    from ..kernel.host.host import Host

__all__ = ["TreeRef"]

ADD_TIMEOUT_S: Final = 150.0
"""How long a change by hand may take: it waits for start hooks and for stop timeouts."""


class TreeRef:
    """A running tree.

    `tree["store"]` and `tree["workers/3"]` are references to declared actors. They stay
    good through restarts of the actors, of their supervisors, and of the host.
    """

    def __init__(
        self,
        host: "Host",
        spec: TreeSpec,
        places: Mapping[str, Address],
        above: "tuple[TreeRef, str] | None" = None,
    ) -> None:
        """A tree whose nodes are at `places`, by their paths; `above` is what it is a part of."""
        self._host = host
        self._above = above
        self.spec: Final = spec
        self.address: Final = places[""]
        """That of its outermost supervisor."""
        self._places: Final = places
        self._nodes: Final[dict[str, Node]] = dict(walk(spec))

    def __getitem__(self, path: str) -> Ref[Any]:
        self._find(path)
        return self._host.ref(self._places[path])

    def __repr__(self) -> str:
        return f"<TreeRef {self.spec.name} at {self.address}>"

    @property
    def ref(self) -> Ref[Any]:
        """The outermost supervisor: to stop it, or to watch it."""
        return self._host.ref(self.address)

    def subtree(self, path: str) -> "TreeRef":
        """A supervisor inside this tree, as a tree. Raises `SpecError`.

        `System.stop` of it is `terminate_child`: its supervisor keeps its spec.
        """
        if not path:
            return self
        node = self._find(path)
        if not isinstance(node, TreeSpec):
            raise SpecError(
                f"{path!r} of tree {self.spec.name!r} is a worker.",
                advice="Only a supervisor has children.",
                field=path,
            )
        places = {
            below: self._places[f"{path}/{below}" if below else path] for below, _ in walk(node)
        }
        return TreeRef(self._host, node, places, (self, path))

    def children(self, path: str = "") -> Awaitable[SupervisorView]:
        """The children of a supervisor in start order, and their counts.

        It is answered also while that supervisor starts or stops a child.
        """
        address = self._supervisor_cell(path)
        return self._ask_control_actor(address, QuerySupervisor(cell=address.cell))

    async def stop_inside(self) -> bool:
        """Stop it as a child of the tree that it is a part of; False for a tree of its own.

        That is `terminate_child` of the whole, with what this one raises.
        """
        if self._above is None:
            return False
        whole, path = self._above
        await whole.terminate_child(path)
        return True

    async def terminate_child(self, path: str) -> None:
        """Stop a child and keep its spec (a temporary one is forgotten), as OTP has it.

        Raises `ActorNotFound`. After a restart of its supervisor, or of the host, it runs.
        """
        await self._change(path, "terminate")

    async def restart_child(self, path: str) -> None:
        """Start a child that is down, and wait until it runs.

        Raises `ActorStartFailed` (it stays down), `UsageError` when it is not down.
        """
        await self._change(path, "restart")

    async def delete_child(self, path: str) -> None:
        """Forget a child that is down. Raises `UsageError` when it is not."""
        await self._change(path, "delete")

    async def add_child(self, child: Node, path: str = "") -> Ref[Any]:
        """Start one more child of a supervisor, after the others.

        As in OTP it is gone when its supervisor restarts. Raises `ActorStartFailed`,
        `NameTaken`, `SpecError`, `UsageError` when there are `children_max`.
        """
        tree = self.subtree(path) if path else self
        check_child(tree.spec, child)
        check_ships(child, self._host.pickler)
        spec = self._host.pickler.dumps(child)
        address = tree.address
        added = await self._ask_control_actor(address, AddChild(cell=address.cell, spec=spec))
        return self._host.ref(Address(address.slot, added.cell))

    async def _change(self, path: str, action: Literal["terminate", "restart", "delete"]) -> None:
        above, _, name = path.rpartition("/")
        address = self._supervisor_cell(above)
        request = ChangeChild(cell=address.cell, name=name, action=action)
        await self._ask_control_actor(address, request)

    def _supervisor_cell(self, path: str) -> Address:
        return self.subtree(path).address if path else self.address

    def _find(self, path: str) -> Node:
        found = self._nodes.get(path)
        if found is None:
            names = ", ".join(repr(path) for path in list(self._nodes)[1:6])
            raise SpecError(
                f"tree {self.spec.name!r} has no {path!r}.",
                advice=f"It has {names or 'no children'}; nested ones are written 'workers/3'.",
                field=path,
            )
        return found

    def _ask_control_actor(self, address: Address, request: Any) -> Awaitable[Any]:
        control_actor = Address(address.slot, CONTROL_CELL)
        return self._host.ask(control_actor, request, ADD_TIMEOUT_S)
