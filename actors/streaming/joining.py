"""How one connection subscribes: what is read before a subscription is live. A shell."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from callboard.messages.control.principals import Principal
from callboard.messages.core.errors import CallboardError

from . import resuming
from .channel import Channel, name_problem
from .core import Connection, HubCore
from .messages import ChannelKind
from .ports import Authenticator, Methods, Page
from .protocol import (
    Command,
    ErrorCode,
    Failed,
    Position,
    PublishCommand,
    Reply,
    Subscribe,
    Subscribed,
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


class Begun(NamedTuple):
    """A subscription that is not live yet, and what its client has missed."""

    command: Subscribe
    channel: Channel
    subscription: Subscription
    page: Page | None = None
    is_gap: bool = False


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
        begun = await self._begin(command)
        self._reply(number, command, begun if isinstance(begun, Failed) else self._finish(begun))

    async def subscribe_by_server(
        self, channels: Sequence[str], positions: Mapping[str, Position | None]
    ) -> dict[str, Subscribed]:
        """Subscribe the client to those of the channels that it may see, and to which it is not.

        Replay that is too much for one message follows as pushes. Nothing is pushed before the
        caller queues what this returns, without another step of the loop. Raises what a source
        does, and `CallboardError` for a channel that is only not there yet.
        """
        begun: list[Begun] = []
        for channel in channels:
            if channel in self._connection.subscriptions:
                continue
            command = Subscribe(channel, recover=positions.get(channel))
            found = await self._begin(command, is_of_server=True)
            if not isinstance(found, Failed):
                begun.append(found)
            elif found.temporary:
                raise CallboardError(found.message)
        subscribed: dict[str, Subscribed] = {}
        room = self._hub.core.limits.replay_bytes_max
        for each in begun:
            reply = self._finish(each, room)
            if isinstance(reply, Subscribed):
                subscribed[each.channel.name] = reply
                room -= sum(len(one.data) for one in reply.publications)
        return subscribed

    async def _begin(self, command: Subscribe, *, is_of_server: bool = False) -> "Begun | Failed":
        """Join the channel, and read what the client has missed; nothing is live yet."""
        hub, connection = self._hub, self._connection
        problem = name_problem(command.channel, hub.core.limits)
        if problem:
            return Failed(ErrorCode.BAD_REQUEST, problem)
        refused = resuming.refusal(connection, command, hub.core)
        if refused is not None:
            return refused
        expires_at = 0.0
        if command.token:
            async with asyncio.timeout(hub.core.limits.source_s):
                principal = connection.principal
                assert principal is not None, "it has connected"
                expires_at = await hub.authenticator.subscription(
                    command.token, principal, command.channel
                )
            refused = resuming.refusal(connection, command, hub.core)
            if refused is not None:  # The server has subscribed the client meanwhile.
                return refused
        channel = hub.channel_for(command.channel)
        if isinstance(channel, Failed):
            return channel
        if not connection.is_open:
            return ENDED
        found = resuming.begin(
            hub.core,
            connection,
            command,
            channel,
            hub.now(),
            expires_at=expires_at,
            is_of_server=is_of_server,
        )
        if isinstance(found, Failed):
            return found
        try:
            await hub.open_channel(channel)
            return await self._read(Begun(command, channel, found))
        except BaseException:
            hub.core.unsubscribe(connection, command.channel, hub.now())
            raise

    async def _read(self, begun: "Begun") -> "Begun":
        command, channel, subscription = begun[:3]
        if command.recover is None or self._has_ended(subscription):
            return begun
        if subscription.is_restricted:
            return begun._replace(is_gap=True)
        is_gap = resuming.lacks(channel, command, self._hub.position_of(channel))
        if is_gap is not None:
            return begun._replace(is_gap=is_gap)
        page = await self._hub.read(channel, command.recover.offset)
        return begun._replace(page=page, is_gap=page is None)

    def _finish(self, begun: "Begun", bytes_max: int | None = None) -> Subscribed | Failed:
        """Go live, or catch up in the background. `bytes_max` bounds the replay in the reply."""
        command, channel, subscription, page, is_gap = begun
        hub = self._hub
        if self._has_ended(subscription):
            return ENDED
        if command.recover is None:
            return resuming.fresh(channel, subscription, hub.wall())
        found = [] if page is None else list(page.publications)
        seen = command.recover.offset if page is None else page.seen
        is_in_ring = seen >= channel.ring.start
        is_gap = is_gap or not (is_in_ring or channel.kind is ChannelKind.JOURNAL)
        if is_gap and command.refuses_gap:
            hub.core.unsubscribe(self._connection, channel.name, hub.now())
            return resuming.GAP
        if is_gap:
            return resuming.fresh(channel, subscription, hub.wall(), is_gap=True)
        rest = channel.ring.after(seen) if is_in_ring else ()
        size = sum(len(each.data) for each in (*found, *rest))
        if bytes_max is not None and size > bytes_max:
            found, seen, is_in_ring = [], command.recover.offset, False
        publications = resuming.replay(subscription, found)
        if is_in_ring:
            live = resuming.go_on(channel, subscription, seen)
            publications = (*publications, *resuming.replay(subscription, live))
        else:
            self.tasks[channel.name] = asyncio.ensure_future(
                self._catch_up(channel, subscription, seen)
            )
        return resuming.resumed(channel, subscription, command, publications, hub.wall())

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
