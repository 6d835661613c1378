"""A running tree as its starter sees it: references to its actors, and what is done by hand."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, Literal

from callboard.messages.control import CONTROL_CELL
from callboard.messages.errors import SpecError
from callboard.messages.ref import Address, Ref
from callboard.messages.trees import AddChild, BranchView, ChangeChild, LookAtBranch

from .spec import Node, TreeSpec, check_child, check_ships, walk

if TYPE_CHECKING:
    from ..host.host import Host

__all__ = ["TreeRef"]

ADD_TIMEOUT_S: Final = 150.0
"""How long a change by hand may take: it waits for start hooks and for stop timeouts."""


class TreeRef:
    """A running tree.

    `tree["store"]` and `tree["workers/3"]` are references to declared actors. They stay
    good through restarts of the actors, of their supervisors, and of the host.
    """

    def __init__(self, host: "Host", spec: TreeSpec, address: Address) -> None:
        self._host = host
        self.spec: Final = spec
        self.address: Final = address
        """That of its outermost supervisor."""
        self._nodes: dict[str, tuple[int, Node]] = {
            path: (offset, node) for offset, (path, node) in enumerate(walk(spec))
        }

    def __getitem__(self, path: str) -> Ref[Any]:
        offset, _ = self._find(path)
        return self._host.ref(Address(self.address.slot, self.address.cell + offset))

    def __repr__(self) -> str:
        return f"<TreeRef {self.spec.name} at {self.address}>"

    @property
    def ref(self) -> Ref[Any]:
        """The outermost supervisor: to stop it, or to watch it."""
        return self._host.ref(self.address)

    def subtree(self, path: str) -> "TreeRef":
        """A supervisor inside this tree as a tree of its own. Raises `SpecError`."""
        offset, node = self._find(path)
        if not isinstance(node, TreeSpec):
            raise SpecError(
                f"{path!r} of tree {self.spec.name!r} is a worker.",
                advice="Only a supervisor has children.",
                field=path,
            )
        address = Address(self.address.slot, self.address.cell + offset)
        return TreeRef(self._host, node, address)

    def children(self, path: str = "") -> Awaitable[BranchView]:
        """The children of a supervisor in start order, and their counts.

        It is answered also while that supervisor starts or stops a child.
        """
        return self._ask_warden(LookAtBranch(cell=self._branch(path)))

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
        check_child(self.subtree(path).spec if path else self.spec, child)
        check_ships(child, self._host.pickler)
        spec = self._host.pickler.dumps(child)
        added = await self._ask_warden(AddChild(cell=self._branch(path), spec=spec))
        return self._host.ref(Address(self.address.slot, added.cell))

    async def _change(self, path: str, action: Literal["terminate", "restart", "delete"]) -> None:
        above, _, name = path.rpartition("/")
        await self._ask_warden(ChangeChild(cell=self._branch(above), name=name, action=action))

    def _branch(self, path: str) -> int:
        return self.subtree(path).address.cell if path else self.address.cell

    def _find(self, path: str) -> tuple[int, Node]:
        found = self._nodes.get(path)
        if found is None:
            names = ", ".join(repr(path) for path in list(self._nodes)[1:6])
            raise SpecError(
                f"tree {self.spec.name!r} has no {path!r}.",
                advice=f"It has {names or 'no children'}; nested ones are written 'workers/3'.",
                field=path,
            )
        return found

    def _ask_warden(self, request: Any) -> Awaitable[Any]:
        warden = Address(self.address.slot, CONTROL_CELL)
        return self._host.ask(warden, request, ADD_TIMEOUT_S)
