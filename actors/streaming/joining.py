"""How one connection subscribes: what is read before a subscription is live. A shell."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from callboard.messages.control.principals import Principal
from callboard.messages.core.errors import CallboardError

from . import resuming
from .channel import Channel, name_problem
from .core import Connection, HubCore
from .ports import Authenticator, Methods, Page
from .protocol import (
    Command,
    ErrorCode,
    Failed,
    Publication,
    PublishCommand,
    Reply,
    Subscribe,
)
from .subscription import State, Subscription

__all__ = ["Joining", "SessionHost"]

ENDED: Final = Failed(ErrorCode.INTERNAL, "the subscription has ended", temporary=True)


class SessionHost(Protocol):
    """The hub, as its sessions see it; see `Hub`."""

    @property
    def core(self) -> HubCore:
        """Its decisions."""

    @property
    def authenticator(self) -> Authenticator:
        """Says who a token belongs to."""

    @property
    def methods(self) -> Methods:
        """What clients call."""

    @property
    def now(self) -> Callable[[], float]:
        """A clock that never jumps, in seconds."""

    @property
    def wall(self) -> Callable[[], float]:
        """Seconds since 1970."""

    def perform(self) -> None:
        """Do what the core has decided."""

    def is_reserved(self, channel: str) -> bool:
        """Whether only sources publish to a channel."""

    def channel_for(self, name: str) -> Channel | Failed:
        """The channel of a name, or why there is none."""

    async def open_channel(self, channel: Channel) -> None:
        """Have the source make its snapshot right."""

    def position_of(self, channel: Channel) -> int | None:
        """How far the source of a journal channel has been read."""

    async def read(self, channel: Channel, after: int) -> Page | None:
        """A page of a journal channel."""

    def resubscribe(self, connection: Connection, channel: str) -> None:
        """Have a client subscribe again."""

    def spread_from(self, principal: Principal, client: str, command: PublishCommand) -> bool:
        """Give what a client publishes to all hubs."""


class Joining:
    """The subscriptions of one connection that begin or catch up."""

    def __init__(
        self,
        hub: SessionHost,
        connection: Connection,
        reply: Callable[[int, Command, Reply | None], None],
    ) -> None:
        self._hub: Final = hub
        self._connection: Final = connection
        self._reply: Final = reply
        self.has_room: Final = asyncio.Event()
        """Set when the client has read so much that history may go on."""
        self.tasks: Final[dict[str, asyncio.Task[None]]] = {}
        """What reads history, by channel."""

    async def subscribe(self, number: int, command: Subscribe) -> None:
        """Do the command, and queue its reply. Raises what a source or a token does."""
        hub, connection = self._hub, self._connection
        problem = name_problem(command.channel, hub.core.limits)
        if problem:
            self._reply(number, command, Failed(ErrorCode.BAD_REQUEST, problem))
            return
        refused = resuming.refusal(connection, command, hub.core)
        if refused is not None:
            self._reply(number, command, refused)
            return
        expires_at = 0.0
        if command.token:
            async with asyncio.timeout(hub.core.limits.source_s):
                principal = connection.principal
                assert principal is not None, "it has connected"
                expires_at = await hub.authenticator.subscription(
                    command.token, principal, command.channel
                )
        channel = hub.channel_for(command.channel)
        if isinstance(channel, Failed):
            self._reply(number, command, channel)
            return
        if not connection.is_open:
            return
        found = resuming.begin(
            hub.core, connection, command, channel, hub.now(), expires_at=expires_at
        )
        if isinstance(found, Failed):
            self._reply(number, command, found)
            return
        try:
            await hub.open_channel(channel)
            await self._answer_subscribe(number, command, channel, found)
        except BaseException:
            hub.core.unsubscribe(connection, command.channel, hub.now())
            raise

    async def _answer_subscribe(
        self, number: int, command: Subscribe, channel: Channel, subscription: Subscription
    ) -> None:
        hub = self._hub
        if self._has_ended(subscription):
            self._reply(number, command, ENDED)
            return
        if command.recover is None:
            self._reply(number, command, resuming.fresh(channel, subscription, hub.wall()))
            return
        position, seen = hub.position_of(channel), command.recover.offset
        is_gap = resuming.lacks(channel, command, position)
        publications: tuple[Publication, ...] = ()
        if is_gap is None:
            page = await hub.read(channel, seen)
            if self._has_ended(subscription):
                self._reply(number, command, ENDED)
                return
            is_gap = page is None
            if page is not None:
                publications = resuming.replay(subscription, page.publications)
                seen = page.seen
        if is_gap and command.refuses_gap:
            hub.core.unsubscribe(self._connection, channel.name, hub.now())
            self._reply(number, command, resuming.GAP)
        elif is_gap:
            self._reply(
                number, command, resuming.fresh(channel, subscription, hub.wall(), is_gap=True)
            )
        elif seen >= channel.ring.start:
            rest = resuming.replay(subscription, resuming.go_on(channel, subscription, seen))
            all_of_it = (*publications, *rest)
            reply = resuming.resumed(channel, subscription, command, all_of_it, hub.wall())
            self._reply(number, command, reply)
        else:
            reply = resuming.resumed(channel, subscription, command, publications, hub.wall())
            self._reply(number, command, reply)
            self.tasks[channel.name] = asyncio.ensure_future(
                self._catch_up(channel, subscription, seen)
            )

    def _has_ended(self, subscription: Subscription) -> bool:
        return subscription.state is State.ENDED or not self._connection.is_open

    async def _catch_up(self, channel: Channel, subscription: Subscription, seen: int) -> None:
        """Push what followed, page by page, as fast as the client reads; then go live."""
        hub = self._hub
        try:
            while not self._has_ended(subscription):
                if seen >= channel.ring.start:
                    rest = resuming.go_on(channel, subscription, seen)
                    resuming.push_replay(subscription, rest, hub.now())
                    break
                page = await hub.read(channel, seen)
                if page is None or self._has_ended(subscription):
                    break
                resuming.push_replay(subscription, page.publications, hub.now())
                seen = page.seen
                hub.perform()
                await self._room()
        except (CallboardError, TimeoutError):
            pass  # The log does not answer: the client resumes from what it has.
        finally:
            if self.tasks.get(channel.name) is asyncio.current_task():
                del self.tasks[channel.name]
            if subscription.state is State.JOINING:
                hub.resubscribe(self._connection, channel.name)
            hub.perform()

    async def _room(self) -> None:
        while self._connection.out.room <= 0 and self._connection.is_open:
            self.has_room.clear()
            await self.has_room.wait()

    def stop(self, channel: str) -> None:
        """The subscription ends: read no further for it."""
        task = self.tasks.pop(channel, None)
        if task is not None:
            task.cancel()
