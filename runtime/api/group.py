"""What a pool and a kind of keyed actors have in common: actors on all hosts, used as one."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from callboard.actors.kernel.actor import Actor
from callboard.actors.kernel.directory.routing import Load
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address, Ref

from .spawner import DriverSpawner

__all__ = ["Group"]

ActorT_co = TypeVar("ActorT_co", bound=Actor, covariant=True)
ReplyT = TypeVar("ReplyT")


class Group(ABC, Generic[ActorT_co]):
    """Actors on all hosts that are used as one. Use it on the event loop of its system."""

    def __init__(self, spawner: DriverSpawner) -> None:
        self._spawner = spawner

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What went wrong inside is more than that it could not be stopped after that.
        with contextlib.suppress(*() if error is None else (CallboardError,)):
            await self.stop()

    @property
    @abstractmethod
    def refs(self) -> Sequence[Ref[Any]]:
        """One reference a host, to that host's part of it."""

    @abstractmethod
    def _choose(self, message: Contract) -> Address | Load:
        """Where a message goes; raises a `CallboardError` when it goes nowhere."""

    def ask(self, request: Request[ReplyT], *, timeout_s: float | None = None) -> Awaitable[ReplyT]:
        """The reply to `request`, as `Ref.ask` gives it.

        Raises, when awaited, an `AskError` or a `ContractError`.
        """
        host = self._spawner.host
        try:
            return host.ask(self._choose(request), request, timeout_s)
        except CallboardError as error:
            refused: asyncio.Future[ReplyT] = host.loop.create_future()
            refused.set_exception(error)
            refused.exception()  # Seen: it is raised where the reply is awaited.
            return refused

    def tell(self, message: Contract) -> None:
        """Send and forget; see `Ref.tell`."""
        self._spawner.host.tell(self._address(message), message)

    async def send(self, message: Contract, *, timeout_s: float | None = None) -> None:
        """Like `tell`, but waits until there is room; see `Ref.send`."""
        await self._spawner.host.send(self._address(message), message, timeout_s)

    def _address(self, message: Contract) -> Address:
        chosen = self._choose(message)
        return chosen.address if isinstance(chosen, Load) else chosen

    async def stop(self) -> None:
        """Stop all its actors in order, and wait. What still waits for them fails."""
        await self._spawner.stop_all(self.refs)
