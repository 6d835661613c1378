"""One connection's commands: who may do what, and what comes back. The shell of the core."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final, assert_never

from callboard.messages.control.principals import Principal
from callboard.messages.core.errors import CallboardError, UsageError

from .channel import Channel, name_problem
from .core import Connection, ttl_s
from .history import history_of
from .joining import Joining, SessionHost
from .ports import FRAME_BYTES_MAX, Closing, Refused
from .protocol import (
    Began,
    Command,
    Connect,
    Connected,
    Disconnect,
    ErrorCode,
    Failed,
    HistoryQuery,
    Presence,
    PresenceQuery,
    PresenceStats,
    PresenceStatsQuery,
    PublishCommand,
    Refresh,
    Refreshed,
    Reply,
    Rpc,
    RpcResult,
    Send,
    SubRefresh,
    Subscribe,
    Unsubscribe,
    Unsubscribed,
)

__all__ = ["OpenSession"]

UNAVAILABLE: Final = Failed(ErrorCode.INTERNAL, "the hub cannot answer now", temporary=True)
TIMED_OUT: Final = Failed(ErrorCode.INTERNAL, "the answer takes too long", temporary=True)
NOT_SUBSCRIBED: Final = Failed(ErrorCode.BAD_REQUEST, "the client is not subscribed")
DENIED: Final = Failed(ErrorCode.PERMISSION_DENIED, "the token does not cover this")
BY_SERVER: Final = 2000
"""The code of a subscription that the server has ended; final."""
LOST_RIGHT: Final = 2100
"""The code of a subscription that the client has no right to any more; final."""


class OpenSession:
    """A `Session` of a hub."""

    def __init__(
        self,
        hub: SessionHost,
        connection: Connection,
        on_ready: Callable[[], None] | None,
        principal: Principal | None,
    ) -> None:
        self._hub: Final = hub
        self._connection: Final = connection
        self._on_ready: Final = on_ready
        self._known: Final = principal
        """Whose token the server has checked."""
        self._waiter: asyncio.Future[None] | None = None
        self._joining: Final = Joining(hub, connection, self._reply)
        self._is_refused = False
        self._takes_subs = True

    @property
    def client(self) -> str:
        """See `Session`."""
        return self._connection.client

    @property
    def principal(self) -> Principal | None:
        """See `Session`."""
        return self._connection.principal

    @property
    def closing(self) -> Closing | None:
        """See `Session`."""
        return self._connection.out.closing

    # --- out -----------------------------------------------------------------------------------

    async def take(self, bytes_max: int = FRAME_BYTES_MAX) -> bytes | None:
        """See `Session`."""
        while True:
            frame = self.take_now(bytes_max)
            if frame is None or frame:
                return frame
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def take_now(self, bytes_max: int = FRAME_BYTES_MAX) -> bytes | None:
        """See `Session`."""
        out = self._connection.out
        if out.closing is not None:
            return None
        frame = out.take(bytes_max)
        if self._joining.tasks and out.room > 0:
            self._joining.has_room.set()
        return frame

    def wake(self) -> None:
        """Something waits, or the connection has ended; the hub calls this."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._on_ready is not None:
            self._on_ready()

    def ended(self) -> None:
        """The connection has ended: end what still reads for it; the hub calls this."""
        for task in self._joining.tasks.values():
            task.cancel()

    def end(self) -> None:
        """See `Session`."""
        self._connection.out.end(Closing(Disconnect.INTERNAL, "the connection is gone"))
        self._hub.perform()

    # --- in ------------------------------------------------------------------------------------

    def pong(self) -> None:
        """See `Session`."""
        self._hub.core.pong(self._connection)
        self._hub.perform()

    def refuse(self, code: Disconnect, reason: str) -> None:
        """See `Session`."""
        self._connection.out.end(Closing(code, reason))
        self._hub.perform()

    async def handle(self, number: int, command: Command) -> None:
        """See `Session`."""
        if not self._connection.is_open or self._is_refused:
            return
        is_known = self.principal is not None
        if isinstance(command, Connect) is is_known:
            what = "the client has connected already" if is_known else "the client must connect"
            self.refuse(Disconnect.BAD_REQUEST, what)
            return
        refused = self._hub.core.admit(self._connection, self._hub.now())
        if refused is not None:
            self._reply(number, command, refused)
            return
        try:
            if isinstance(command, Subscribe):
                await self._joining.subscribe(number, command)
            else:
                await self._answer(number, command)
        except TimeoutError:
            self._reply(number, command, TIMED_OUT)
        except Refused as error:
            self._reply(number, command, _failed(error))
        except UsageError as error:
            self._reply(number, command, Failed(ErrorCode.BAD_REQUEST, error.message))
        except CallboardError:
            self._reply(number, command, UNAVAILABLE)
        self._hub.perform()

    def _reply(self, number: int, command: Command, reply: Reply | None) -> None:
        out = self._connection.out
        out.put(out.codec.reply(number, command, reply))
        self._hub.perform()

    async def _answer(self, number: int, command: Command) -> None:
        hub = self._hub
        match command:
            case Connect():
                await self._connect(number, command)
                return
            case Send():
                self.refuse(Disconnect.NOT_AVAILABLE, "the hub takes no messages")
                return
            case Unsubscribe():
                self._joining.stop(command.channel)
                hub.core.unsubscribe(self._connection, command.channel, hub.now())
                reply: Reply | None = Unsubscribed(command.channel)
            case PublishCommand():
                reply = self._publish(command)
            case PresenceQuery() | PresenceStatsQuery():
                reply = self._presence(command)
            case HistoryQuery():
                reply = await self._history(command)
            case Rpc():
                async with asyncio.timeout(hub.core.limits.source_s):
                    data = await hub.methods.call(self._someone, command.method, command.data)
                reply = RpcResult(data)
            case Refresh():
                reply = await self._refresh(command)
            case SubRefresh():
                reply = await self._refresh_subscription(command)
            case Subscribe():
                raise AssertionError(command)
            case _:
                assert_never(command)
        self._reply(number, command, reply)

    @property
    def _someone(self) -> Principal:
        assert self._connection.principal is not None
        return self._connection.principal

    async def _connect(self, number: int, command: Connect) -> None:
        hub = self._hub
        try:
            principal = await self._authenticated(command.token)
        except Refused as error:
            failed = _failed(error)
            self._is_refused = True
            if failed.code == ErrorCode.TOKEN_EXPIRED:
                self._reply(number, command, failed)
            else:
                self.refuse(Disconnect.INVALID_TOKEN, "the token does not count")
            return
        if not self._connection.is_open:
            return
        found = hub.core.connect(self._connection, principal, hub.wall())
        if not isinstance(found, Connected):
            self.refuse(Disconnect(found.code), found.reason)
            return
        self._takes_subs = command.takes_subs
        channels = principal.subscribes if command.takes_subs else ()
        try:
            async with asyncio.timeout(hub.core.limits.source_s):
                subs = await self._joining.subscribe_by_server(channels, command.subs)
        except (CallboardError, TimeoutError):
            # Without its subscriptions the client would forget where it was.
            self.refuse(Disconnect.INTERNAL, "the subscriptions cannot begin now")
            return
        self._reply(number, command, replace(found, subs=subs))

    async def subscribe_by_server(self, channel: str) -> bool:
        """See `Hub.subscribe`."""
        if self.principal is None or not self._takes_subs or not self._connection.is_open:
            return False
        async with asyncio.timeout(self._hub.core.limits.source_s):
            subs = await self._joining.subscribe_by_server((channel,), {})
        for name, subscribed in subs.items():
            self._connection.out.push(Began(name, subscribed))
        self._hub.perform()
        return bool(subs)

    def unsubscribe_by_server(self, channel: str) -> bool:
        """See `Hub.unsubscribe`."""
        if channel not in self._connection.subscriptions:
            return False
        self._unsubscribe(channel, BY_SERVER, "the server has ended the subscription")
        self._hub.perform()
        return True

    def _unsubscribe(self, channel: str, code: int, reason: str) -> None:
        self._joining.stop(channel)
        push = Unsubscribed(channel, code, reason)
        self._hub.core.unsubscribe(self._connection, channel, self._hub.now(), push)

    async def _authenticated(self, token: str) -> Principal:
        if self._known is not None and not token:
            return self._known
        async with asyncio.timeout(self._hub.core.limits.source_s):
            return await self._hub.authenticator.authenticate(token, self._connection.remote)

    async def _refresh(self, command: Refresh) -> Reply:
        principal = await self._authenticated(command.token)
        if principal.subject != self._someone.subject:
            return Failed(ErrorCode.PERMISSION_DENIED, "the token is another subject's")
        before, self._connection.principal = self._someone, principal
        for name in tuple(self._connection.subscriptions):
            if not principal.may_subscribe(name):
                self._unsubscribe(name, LOST_RIGHT, "the token does not cover the channel")
            elif principal.conditions(name) != before.conditions(name):
                self._joining.stop(name)
                self._hub.resubscribe(self._connection, name)
        return Refreshed(ttl_s(principal.expires_at, self._hub.wall()))

    async def _refresh_subscription(self, command: SubRefresh) -> Reply:
        subscription = self._connection.subscriptions.get(command.channel)
        if subscription is None:
            return NOT_SUBSCRIBED
        expires_at = await self._subscription_end(command.token, command.channel)
        subscription.expires_at = expires_at
        return Refreshed(ttl_s(expires_at, self._hub.wall()))

    async def _subscription_end(self, token: str, channel: str) -> float:
        async with asyncio.timeout(self._hub.core.limits.source_s):
            return await self._hub.authenticator.subscription(token, self._someone, channel)

    def _publish(self, command: PublishCommand) -> Reply | None:
        hub = self._hub
        problem = name_problem(command.channel, hub.core.limits)
        if problem:
            return Failed(ErrorCode.BAD_REQUEST, problem)
        if not self._someone.may_publish(command.channel) or hub.is_reserved(command.channel):
            return DENIED
        most = hub.core.limits.event_bytes_max
        if len(command.data) > most:
            return Failed(ErrorCode.LIMIT_EXCEEDED, f"an event has at most {most} bytes")
        if not _is_json(command.data):
            return Failed(ErrorCode.BAD_REQUEST, "the data is no JSON")
        if not hub.spread_from(self._someone, self.client, command):
            return Failed(ErrorCode.TOO_MANY_REQUESTS, "too many events wait", temporary=True)
        return None

    def _presence(self, command: PresenceQuery | PresenceStatsQuery) -> Reply:
        channel = self._readable(command.channel)
        if isinstance(channel, Failed):
            return channel
        clients = () if channel is None else tuple(self._hub.core.clients(channel))
        if isinstance(command, PresenceStatsQuery):
            return PresenceStats(len(clients), len({client.user for client in clients}))
        most = self._hub.core.limits.presence_max
        if len(clients) > most:
            return Failed(ErrorCode.LIMIT_EXCEEDED, f"more than {most} clients; ask for the count")
        return Presence({client.client: client for client in clients})

    async def _history(self, command: HistoryQuery) -> Reply:
        allowed = self._readable(command.channel)
        if isinstance(allowed, Failed):
            return allowed
        channel = self._hub.channel_for(command.channel)
        if isinstance(channel, Failed):
            return channel
        async with asyncio.timeout(self._hub.core.limits.source_s):
            return await history_of(channel, command, self._hub.core.limits)

    def _readable(self, name: str) -> Channel | Failed | None:
        problem = name_problem(name, self._hub.core.limits)
        if problem:
            return Failed(ErrorCode.BAD_REQUEST, problem)
        if not self._someone.may_subscribe(name) or self._someone.conditions(name):
            return DENIED  # What a rule restricts has events from now on, and nothing else.
        return self._hub.core.channels.get(name)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _failed(error: Refused) -> Failed:
    code = error.details.get("code", ErrorCode.UNAUTHORIZED)
    return Failed(int(code), error.message)
