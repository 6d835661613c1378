"""What a handler may do besides computing: ask, tell, spawn, look up.

A context belongs to one message. Its asks inherit what is left of that message's
deadline, and are cancelled with it.
"""

import threading
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from callboard.messages.contract import Contract, Request
from callboard.messages.lifecycle import ENDED_NORMALLY, Exit
from callboard.messages.ref import Address, Ref
from callboard.messages.spec import Restart, StopTimeout

if TYPE_CHECKING:
    from .actor import Actor
    from .asks import Ask
    from .cell import Cell
    from .host.host import Host

__all__ = ["Context"]

ActorT = TypeVar("ActorT", bound="Actor")
ReplyT = TypeVar("ReplyT")


class Context:
    """One message's view of the system. Use it on the event loop only, except `cancelled`."""

    __slots__ = ("_ask", "_cancelled", "_cell", "_host")

    def __init__(self, host: "Host", cell: "Cell", ask: "Ask | None") -> None:
        self._host = host
        self._cell = cell
        self._ask = ask
        self._cancelled: threading.Event | None = None

    @property
    def self_ref(self) -> "Ref[Any]":
        """A reference to the actor itself."""
        return self._host.ref(Address(self._host.slot, self._cell.id))

    @property
    def path(self) -> str:
        """The actor's path on its host."""
        return self._cell.path

    @property
    def host_name(self) -> str:
        """The name of the host that runs the actor."""
        return self._host.name

    @property
    def cancelled(self) -> threading.Event:
        """Set when the asker has given up: for synchronous handlers to look at."""
        if self._cancelled is None:
            self._cancelled = threading.Event()
        return self._cancelled

    def remaining_s(self) -> float | None:
        """What is left of this message's deadline in seconds; None when it has none."""
        if self._ask is None:
            return None
        return max(0.0, self._ask.deadline_s - self._host.now())

    def ask(
        self,
        request: Request[ReplyT],
        to: "Ref[Any] | None" = None,
        *,
        timeout_s: float | None = None,
    ) -> Awaitable[ReplyT]:
        """The reply to `request`, from `to` or else from whoever offers its contract.

        Within `timeout_s` and what is left of this message's deadline, whichever ends
        first. Raises, when awaited, an `AskError` or a `ContractError`; `NoAgentOffers`
        when `to` is left out and nobody offers the contract.
        """
        return self._host.ask(
            None if to is None else to.address, request, timeout_s, origin=self._ask
        )

    def tell(self, to: "Ref[Any]", message: Contract) -> None:
        """Like `Ref.tell`."""
        to.tell(message)

    async def send(
        self, to: "Ref[Any]", message: Contract, *, timeout_s: float | None = None
    ) -> None:
        """Like `Ref.send`, within this message's deadline."""
        remaining = self.remaining_s()
        if remaining is not None:
            timeout_s = remaining if timeout_s is None else min(timeout_s, remaining)
        await self._host.send(to.address, message, timeout_s)

    async def spawn(
        self,
        actor: type[ActorT],
        *args: Any,
        name: str | None = None,
        restart: Restart = Restart.TRANSIENT,
        stop_timeout: StopTimeout | None = None,
        **keywords: Any,
    ) -> "Ref[ActorT]":
        """Start a child on this host; it lives at most as long as this actor.

        Raises `ActorStartFailed` when its constructor or hook fails, `NameTaken` when a
        living sibling has the name, `SpecError` when the class is not a proper actor.
        """
        from .cell import Recipe

        recipe = Recipe(actor, args, keywords or None, name)
        cell = await self._host.spawn(recipe, self._cell, restart, stop_timeout)
        return self._host.ref(Address(self._host.slot, cell.id))

    def children(self) -> "Sequence[Ref[Any]]":
        """The living children, in the order of their start."""
        family = self._cell.children
        if family is None:
            return ()
        return tuple(self._host.ref(Address(self._host.slot, number)) for number in family.cells)

    async def stop_child(self, child: "Ref[Any]") -> None:
        """Stop a child in order, and wait until it has stopped."""
        await self._host.stop_child(self._cell, child.address.cell)

    def stop(self, reason: Exit = ENDED_NORMALLY) -> None:
        """Stop this actor after the current message; a transient one is not restarted."""
        self._host.stop_self(self._cell, reason)

    async def lookup(self, name: str, *, timeout_s: float | None = None) -> "Ref[Any]":
        """The actor of that name, anywhere in the system; raises `ActorNotFound`."""
        return await self._host.lookup(name, timeout_s)
