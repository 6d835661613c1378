"""What all clients of a server share for a second: a view of the whole system asks every host."""

import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from callboard.messages.control.principals import Scope

from ...cache.single_flight import SingleFlight

__all__ = ["Shared"]

ValueT = TypeVar("ValueT")
EACH_S: Final = 1.0
TIMEOUT_S: Final = 30.0
"""More than a request of the admin API takes."""


class MayRead(Protocol):
    """A client."""

    def check(self, scope: Scope) -> None:
        """Raise `AccessDenied` without the scope."""


class Shared(Generic[ValueT]):
    """One value for all clients who may read, loaded at most once in `EACH_S`."""

    def __init__(self) -> None:
        self._flight: Final = SingleFlight[ValueT](TIMEOUT_S)
        self._kept: list[ValueT] = []
        self._loaded_s = -math.inf

    async def read(self, client: MayRead, load: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """The value, or what `load` gives. Raises what it raises; a failure is not kept."""
        client.check(Scope.READ)  # Before an answer that another client has caused.
        if self._kept and time.monotonic() - self._loaded_s < EACH_S:
            return self._kept[0]

        async def keep() -> ValueT:
            value = await load()
            self._kept, self._loaded_s = [value], time.monotonic()
            return value

        return await self._flight.load("newest", keep)
