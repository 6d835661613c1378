"""A codec with its registry, and a message's whole way through it, for tests of the codec."""

from collections.abc import Callable
from typing import Any, TypeVar

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import Contract, ContractRegistry, contract_key
from callboard.messages.core.limits import DEFAULT_LIMITS, Limits
from callboard.messages.core.ref import Address

__all__ = ["Free", "Nest", "NoSender", "Place", "Span", "Way", "nested"]

MessageT = TypeVar("MessageT", bound=Contract)


class Free(Contract, name="tests.messages.free"):
    """Holds anything."""

    x: Any


class Place(Contract, name="tests.codec.place"):
    """One field."""

    line: int


class Span(Place, name="tests.codec.span"):
    """One more."""

    last: int


class Nest(Contract, name="tests.codec.nest"):
    """Contracts in contracts."""

    inside: "tuple[Nest, ...]" = ()


class NoSender:
    """Carries nothing: these references are only sent."""

    def tell(self, address: Address, message: Contract) -> None:
        raise AssertionError

    async def send(self, address: Address, message: Contract, timeout_s: float | None) -> None:
        raise AssertionError

    def ask(self, address: Address, request: Any, timeout_s: float | None) -> Any:
        raise AssertionError

    def stream(self, address: Address, request: Any, items: Any, timeout_s: float | None) -> Any:
        raise AssertionError


class Way:
    """From a message to bytes and back."""

    def __init__(
        self, limits: Limits = DEFAULT_LIMITS, internalise: Callable[[Any], Any] | None = None
    ) -> None:
        self.registry = ContractRegistry(limits)
        self.codec = Codec(self.registry, limits, internalise)

    def back(self, message: MessageT) -> MessageT:
        """The message after its way; the bytes are copied as a transport would."""
        body, buffers = self.codec.encode(message)
        build = self.registry.resolve(*contract_key(type(message)))
        decoded = self.codec.decode(body, build, tuple(bytes(buffer) for buffer in buffers))
        assert type(decoded) is type(message)
        return decoded

    def value(self, value: Any) -> Any:
        """What arrives of a value in a field that may be anything."""
        return self.back(Free(x=value)).x

    def decode(self, body: bytes, cls: type[Contract] = Free, buffers: Any = ()) -> Contract:
        """What bytes from outside become."""
        return self.codec.decode(body, self.registry.resolve(*contract_key(cls)), buffers)


def nested(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value
