"""References: typed handles on actors, wherever these run.

An address is a slot and a cell. A slot is a host's place in the cluster, not a process:
when a host dies, another process takes over its slot and its actors keep their cells, so
a reference stays valid. References may be sent in messages and kept in actors.
"""

from collections.abc import AsyncGenerator, Awaitable
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar, overload

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from .contract import Contract, Request
from .errors import CallboardError, InvalidMessage, UsageError

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

__all__ = [
    "CONTRACT_TYPE",
    "EXTERNAL_REF",
    "Address",
    "Receiver",
    "Ref",
    "Sender",
    "check_message",
    "not_a_message",
]

ActorT = TypeVar("ActorT", covariant=True)
ReplyT = TypeVar("ReplyT")
ItemT = TypeVar("ItemT", bound=Contract)

CONTRACT_TYPE: Final = type(Contract)
"""The class of contract classes: so the hot path checks a message at a third of the cost of
`isinstance`, which asks pydantic. Other pydantic models pass, and are refused later."""

EXTERNAL_REF: Final = "ref"
"""The first item of an encoded reference: marks it among other externals."""


class Address(NamedTuple):
    """The address of an actor: the slot of its host, and its cell there."""

    slot: int
    cell: int

    def __str__(self) -> str:
        return f"{self.slot}/{self.cell}"


class Receiver(Protocol):
    """The receiver at a local address: a cell, or a host's part of a pool."""

    def put(self, item: Any) -> None:
        """Take one message; raises `MailboxFull` when there is no room."""


class Sender(Protocol):
    """Sends the messages of a reference: the host that the reference is bound to."""

    def tell(self, address: Address, message: Contract) -> None:
        """See `Ref.tell`."""

    async def send(self, address: Address, message: Contract, timeout_s: float | None) -> None:
        """See `Ref.send`."""

    def ask(
        self, address: Address, request: Request[ReplyT], timeout_s: float | None
    ) -> Awaitable[ReplyT]:
        """See `Ref.ask`."""

    def stream(
        self,
        address: Address,
        request: Request[Any],
        items: type[Contract],
        timeout_s: float | None,
    ) -> AsyncGenerator[Any, None]:
        """See `Ref.stream`."""


class Ref(Generic[ActorT]):
    """A handle on one actor, bound to the host that uses it."""

    __slots__ = ("_receiver", "_sender", "address")

    def __init__(self, address: Address, sender: Sender, receiver: Receiver | None = None) -> None:
        self.address: Final = address
        self._sender = sender
        self._receiver = receiver

    def tell(self, message: Contract) -> None:
        """Send a message without a reply: at most once, in order for this sender and receiver.

        Never waits. Raises `MailboxFull` when the receiver's mailbox, or the link to its
        host, has no room, and `InvalidMessage` or `PayloadTooLarge` when the message cannot
        travel. A message that finds no actor becomes a dead letter.
        """
        receiver = self._receiver
        if receiver is not None:
            if type(type(message)) is not CONTRACT_TYPE:
                raise not_a_message(message)
            receiver.put(message)
        else:
            self._sender.tell(self.address, message)

    async def send(self, message: Contract, *, timeout_s: float | None = None) -> None:
        """Like `tell`, but wait until there is room.

        Raises `DeadlineExceeded` when there is no room within `timeout_s` seconds (default:
        the system's ask timeout); the message has not been sent then.
        """
        await self._sender.send(self.address, message, timeout_s)

    def ask(self, request: Request[ReplyT], *, timeout_s: float | None = None) -> Awaitable[ReplyT]:
        """The reply to `request`, within `timeout_s` seconds (default: the system's ask timeout).

        The request is under way when this returns; await the result for the reply.
        Cancelling the result, or the end of its deadline, cancels the handler and the
        handler's own asks.

        Of a handler that yields it gets the reply alone; `stream` gets the rest, too.

        The awaited result raises an `AskError`, whose `may_have_run` says whether the
        handler may have started, or a `ContractError`.
        """
        return self._sender.ask(self.address, request, timeout_s)

    @overload
    def stream(
        self, request: Request[None], items: type[ItemT], *, timeout_s: float | None = None
    ) -> AsyncGenerator[ItemT, None]: ...

    @overload
    def stream(
        self, request: Request[ReplyT], items: type[ItemT], *, timeout_s: float | None = None
    ) -> AsyncGenerator[ItemT | ReplyT, None]: ...

    def stream(
        self, request: Request[Any], items: type[Contract], *, timeout_s: float | None = None
    ) -> AsyncGenerator[Any, None]:
        """What a handler yields for `request`, one by one: `items`, and then the reply, if any.

        The request leaves with the first item that the reader waits for. The handler is a window
        of items ahead, and waits then. `timeout_s` (default: the system's ask timeout) limits the
        time without progress: each wait for an item, and each absence of the reader between two.

        The handler's generator is closed when the reader leaves: use `contextlib.aclosing` where
        that must not wait for the end of a `for` that was left. The reader gets what `ask` raises,
        after the items before it.
        """
        return self._sender.stream(self.address, request, items, timeout_s)

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


def not_a_message(message: object) -> CallboardError:
    """The error for what stands where a message belongs, and is none."""
    if isinstance(message, Ref):
        return UsageError(
            "a reference stands where the message belongs.",
            advice="The message comes first: tell(message, to), send(message, to), "
            "ask(request, to).",
        )
    if isinstance(message, type):
        what = f"the class {message.__qualname__}"
        advice = f"Pass an object of it: {message.__qualname__}(...)."
    else:
        what = f"a {type(message).__qualname__}"
        advice = "Derive a class from Contract or Request, and pass an object of it."
    return InvalidMessage(
        f"{what} stands where a message belongs, and is no contract.",
        advice=advice,
        may_have_run=False,
    )


def check_message(message: object) -> None:
    """Raise `InvalidMessage` when it is no contract, `UsageError` when it is a reference."""
    if not isinstance(message, Contract):
        raise not_a_message(message)
