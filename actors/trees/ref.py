"""A reference to a running tree: it gives references to actors, and changes the tree by hand."""

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
"""The deadline of a change by hand, which waits for start hooks and for stop timeouts."""


class TreeRef:
    """A running tree.

    `tree["store"]` and `tree["workers/3"]` are references to declared actors. They stay
    valid when the actors, their supervisors or the host restart.
    """

    def __init__(
        self,
        host: "Host",
        spec: TreeSpec,
        places: Mapping[str, Address],
        whole: "tuple[TreeRef, str] | None" = None,
    ) -> None:
        """A tree with its nodes at `places`, by path; `whole` is the tree that contains it."""
        self._host = host
        self._whole = whole
        self.spec: Final = spec
        self.address: Final = places[""]
        """The address of its outermost supervisor."""
        self._places: Final = places
        self._nodes: Final[dict[str, Node]] = dict(walk(spec))

    def __getitem__(self, path: str) -> Ref[Any]:
        self._find(path)
        return self._host.ref(self._places[path])

    def __repr__(self) -> str:
        return f"<TreeRef {self.spec.name} at {self.address}>"

    @property
    def ref(self) -> Ref[Any]:
        """A reference to the outermost supervisor, for instance to stop or to watch it."""
        return self._host.ref(self.address)

    def subtree(self, path: str) -> "TreeRef":
        """The tree below a supervisor inside this tree. Raises `SpecError`.

        `System.stop` of a subtree is `terminate_child`: its supervisor keeps its spec.
        """
        if not path:
            return self
        node = self._find(path)
        if not isinstance(node, TreeSpec):
            raise SpecError(
                f"{path!r} of tree {self.spec.name!r} is a worker and has no children.",
                advice="Give the path of a supervisor.",
                field=path,
            )
        places = {
            below: self._places[f"{path}/{below}" if below else path] for below, _ in walk(node)
        }
        return TreeRef(self._host, node, places, (self, path))

    def children(self, path: str = "") -> Awaitable[SupervisorView]:
        """The children of a supervisor in start order, and their counts.

        The answer comes even while that supervisor starts or stops a child.
        """
        address = self._supervisor_cell(path)
        return self._ask_control_actor(address, QuerySupervisor(cell=address.cell))

    async def stop_as_child(self) -> bool:
        """Stop a subtree as a child of the tree that contains it; False for a whole tree.

        It calls `terminate_child` of the containing tree, and raises the same errors.
        """
        if self._whole is None:
            return False
        whole, path = self._whole
        await whole.terminate_child(path)
        return True

    async def terminate_child(self, path: str) -> None:
        """Stop a child and keep its spec, as in OTP; the supervisor forgets a temporary child.

        Raises `ActorNotFound`. When its supervisor or the host restarts, the child runs again.
        """
        await self._change(path, "terminate")

    async def restart_child(self, path: str) -> None:
        """Start a child that is down, and wait until it runs.

        Raises `ActorStartFailed` (the child stays down), and `UsageError` when it is not down.
        """
        await self._change(path, "restart")

    async def delete_child(self, path: str) -> None:
        """Forget a child that is down. Raises `UsageError` when it is not."""
        await self._change(path, "delete")

    async def add_child(self, child: Node, path: str = "") -> Ref[Any]:
        """Start one more child of a supervisor, after the others.

        As in OTP, the child does not come back when its supervisor restarts.

        Raises `ActorStartFailed`, `NameTaken`, `SpecError`, and `UsageError` when the
        supervisor has `children_max` children.
        """
        tree = self.subtree(path) if path else self
        check_child(tree.spec, child)
        check_ships(child, self._host.pickler)
        spec = self._host.pickler.dumps(child)
        address = tree.address
        added = await self._ask_control_actor(address, AddChild(cell=address.cell, spec=spec))
        return self._host.ref(Address(address.slot, added.cell))

    async def _change(self, path: str, action: Literal["terminate", "restart", "delete"]) -> None:
        parent, _, name = path.rpartition("/")
        address = self._supervisor_cell(parent)
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
                advice=f"It has {names or 'no children'}; write nested paths as 'workers/3'.",
                field=path,
            )
        return found

    def _ask_control_actor(self, address: Address, request: Any) -> Awaitable[Any]:
        control_actor = Address(address.slot, CONTROL_CELL)
        return self._host.ask(control_actor, request, ADD_TIMEOUT_S)
