"""References: typed, location-free handles on actors.

An address is a slot and a cell. A slot is a host's place in the cluster, not a process:
when a host dies, another process takes over its slot and its actors keep their cells, so
a reference goes on working. References may be sent in messages and kept in actors.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from .contract import Contract, Request
from .errors import UsageError

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

__all__ = ["EXTERNAL_REF", "Address", "Receiver", "Ref", "Sender", "message_comes_first"]

ActorT = TypeVar("ActorT", covariant=True)
ReplyT = TypeVar("ReplyT")

EXTERNAL_REF: Final = "ref"
"""How an encoded reference begins, among other externals."""


class Address(NamedTuple):
    """Where an actor is: the slot of its host, and its cell there."""

    slot: int
    cell: int

    def __str__(self) -> str:
        return f"{self.slot}/{self.cell}"


class Receiver(Protocol):
    """What is at a local address: a cell, or a pool's pool cell."""

    def put(self, item: Any) -> None:
        """Take one message; raises `MailboxFull` when there is no room."""


class Sender(Protocol):
    """What carries a reference's messages: the host that the reference is bound to."""

    def tell(self, address: Address, message: Contract) -> None:
        """Deliver without a reply."""

    async def send(self, address: Address, message: Contract, timeout_s: float | None) -> None:
        """Deliver without a reply, waiting for room."""

    def ask(
        self, address: Address, request: Request[ReplyT], timeout_s: float | None
    ) -> Awaitable[ReplyT]:
        """Deliver and give the reply."""


class Ref(Generic[ActorT]):
    """A handle on one actor, bound to the host it is used on."""

    __slots__ = ("_receiver", "_sender", "address")

    def __init__(self, address: Address, sender: Sender, receiver: Receiver | None = None) -> None:
        self.address: Final = address
        self._sender = sender
        self._receiver = receiver

    def tell(self, message: Contract) -> None:
        """Send and forget: at most once, in order for this sender and receiver.

        Never waits. Raises `MailboxFull` when the receiver, or the way to it, has no
        room; `InvalidMessage` or `PayloadTooLarge` when the message cannot travel. A
        message that finds no actor becomes a dead letter.
        """
        receiver = self._receiver
        if receiver is not None:
            receiver.put(message)
        else:
            self._sender.tell(self.address, message)

    async def send(self, message: Contract, *, timeout_s: float | None = None) -> None:
        """Like `tell`, but waits until there is room.

        Raises `DeadlineExceeded` when there is none within `timeout_s` (default: the
        system's ask timeout); the message has not been sent then.
        """
        await self._sender.send(self.address, message, timeout_s)

    def ask(self, request: Request[ReplyT], *, timeout_s: float | None = None) -> Awaitable[ReplyT]:
        """The reply to `request`, within `timeout_s` (default: the system's ask timeout).

        The request is on its way when this returns; awaiting gives the reply. Cancelling
        what is returned, or its deadline passing, cancels the handler and its own asks.

        Raises, when awaited, an `AskError` whose `may_have_run` says whether the handler
        may have started, or a `ContractError`.
        """
        return self._sender.ask(self.address, request, timeout_s)

    def to_external(self) -> Any:
        """This reference as plain data, for the codec."""
        return (EXTERNAL_REF, self.address.slot, self.address.cell)

    def __repr__(self) -> str:
        return f"<Ref {self.address}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(Ref)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> "JsonSchemaValue":
        return {"type": "object", "format": "actor-ref"}


def message_comes_first() -> UsageError:
    """The error for a reference in the place of the message."""
    return UsageError(
        "a reference stands where the message belongs.",
        advice="The message comes first: tell(message, to), send(message, to), ask(request, to).",
    )
