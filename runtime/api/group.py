"""The base of pools and keyed actors: actors on all hosts that a driver uses as one."""

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
from callboard.messages.core.ref import Address, Ref, check_message
from callboard.messages.core.timeouts import checked_timeout

from .spawner import DriverSpawner

__all__ = ["Group"]

ActorT_co = TypeVar("ActorT_co", bound=Actor, covariant=True)
ReplyT = TypeVar("ReplyT")


class Group(ABC, Generic[ActorT_co]):
    """Actors on all hosts that a driver uses as one, on the event loop of its system."""

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
        # An error inside the block matters more than a failed stop after it.
        with contextlib.suppress(*() if error is None else (CallboardError,)):
            await self.stop()

    @property
    @abstractmethod
    def refs(self) -> Sequence[Ref[Any]]:
        """One reference for each host, to the part of the group there."""

    @abstractmethod
    def _choose(self, message: Contract) -> Address | Load:
        """The receiver of a message. Raises a `CallboardError` when there is none."""

    def ask(self, request: Request[ReplyT], *, timeout_s: float | None = None) -> Awaitable[ReplyT]:
        """Send `request` to one of the actors; await the reply.

        `timeout_s` is in seconds; None means the setting `ask_timeout_s`. The await raises an
        `AskError` when no reply came, and a `ContractError` when a host refused the message.
        """
        host = self._spawner.host
        check_message(request)
        if timeout_s is not None:
            checked_timeout(timeout_s)
        try:
            return host.ask(self._choose(request), request, timeout_s)
        except CallboardError as error:
            refused: asyncio.Future[ReplyT] = host.loop.create_future()
            refused.set_exception(error)
            refused.exception()  # Seen: the caller gets it where it awaits the reply.
            return refused

    def tell(self, message: Contract) -> None:
        """Send `message` to one of the actors, without a reply; see `Ref.tell`.

        Raises `MailboxFull` when there is no room to send, and `NoAgentOffers` or `UsageError`
        when no actor of the group takes it.
        """
        self._spawner.host.tell(self._address(message), message)

    async def send(self, message: Contract, *, timeout_s: float | None = None) -> None:
        """Send `message` like `tell`, but wait until there is room; see `Ref.send`.

        `timeout_s` is in seconds; None means the setting `ask_timeout_s`. Raises
        `DeadlineExceeded` when there is no room in time.
        """
        if timeout_s is not None:
            checked_timeout(timeout_s)
        await self._spawner.host.send(self._address(message), message, timeout_s)

    def _address(self, message: Contract) -> Address:
        check_message(message)
        chosen = self._choose(message)
        return chosen.address if isinstance(chosen, Load) else chosen

    async def stop(self) -> None:
        """Stop all actors of the group in order, and wait. Pending asks to them fail."""
        await self._spawner.stop_all(self.refs)
