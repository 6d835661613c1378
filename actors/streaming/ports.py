"""The ports of the hub: what a server, a codec, a source and a method are to it.

A server opens a `Session` for each connection, gives it the commands that its codec reads, and
writes the bytes that `Session.take` gives, until that gives None:

    session = hub.open(codec, remote="192.0.2.7")
    await session.handle(number, command)          # for each command that arrives, in order
    while (frame := await session.take()) is not None:
        await socket.send(frame)
    await socket.close(*session.closing)           # a code, and a reason

Replies and pushes share one queue, so a reply comes before the first push of what it begins.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from callboard.messages.control.principals import Principal
from callboard.messages.core.errors import CallboardError

from .messages import ChannelKind
from .protocol import Command, Disconnect, Publication, Push, Reply

__all__ = [
    "FRAME_BYTES_MAX",
    "Authenticator",
    "ChannelSource",
    "Closing",
    "Codec",
    "Edge",
    "Feed",
    "Methods",
    "Page",
    "Refused",
    "Session",
    "SessionHub",
]

FRAME_BYTES_MAX = 1 << 16
"""The size at which `Session.take` ends a frame, in bytes; one larger message has its own."""


class Refused(CallboardError):
    """A token does not count, or a method refuses its caller.

    `details["code"]` is the code of the reply, `ErrorCode.UNAUTHORIZED` unless it says otherwise.
    Its message goes to the client, and so never contains a token.
    """

    code = "refused"


class Closing(NamedTuple):
    """Why the hub ends a connection: the code and the reason of the WebSocket's close."""

    code: int
    reason: str


class Page(NamedTuple):
    """Publications after a position, oldest first, and how far the log was searched for them."""

    publications: Sequence[Publication]
    seen: int


class Codec(Protocol):
    """Turns replies and pushes into bytes, for one connection or for all.

    `push` is called once for each publication and each `name`, if `is_shared`, and the hub keeps
    the bytes; otherwise once for each delivery. A codec never raises for values that the hub
    gives it.
    """

    @property
    def name(self) -> str:
        """Its name, which is also the key of the bytes that are kept."""

    @property
    def is_shared(self) -> bool:
        """Whether a push has the same bytes on all connections of this codec."""

    @property
    def answers_pings(self) -> bool:
        """Whether clients answer pings; without it the server notices lost clients itself."""

    def reply(self, number: int, command: Command, reply: Reply | None) -> bytes:
        """The reply to the command of this number; None is the empty result."""

    def push(self, push: Push) -> bytes:
        """A push."""

    def ping(self) -> bytes:
        """A ping; empty to send none."""

    def join(self, parts: Sequence[bytes]) -> bytes:
        """One frame of several replies and pushes."""


class Session(Protocol):
    """One connection, as its server sees it. One task reads, and one writes."""

    @property
    def client(self) -> str:
        """The id of the client, which the hub has drawn."""

    @property
    def principal(self) -> Principal | None:
        """Who it is; None before it has connected."""

    @property
    def closing(self) -> Closing | None:
        """Why the hub has ended it; None while it is open."""

    async def handle(self, number: int, command: Command) -> None:
        """Do what a command says, and queue its reply. The next command waits for the end of it.

        Number 0 is for commands without a reply. A command after the end changes nothing.
        """

    def pong(self) -> None:
        """Note that the client has answered a ping; one that answers none ends with 3501."""

    def refuse(self, code: Disconnect, reason: str) -> None:
        """End it because of what arrived: bytes that are no command, for instance."""

    async def take(self, bytes_max: int = FRAME_BYTES_MAX) -> bytes | None:
        """The next frame: all that waits, up to this size, joined. None once it has ended.

        Waits until there is something. What waited when the hub ended it is lost; clients resume.
        """

    def take_now(self, bytes_max: int = FRAME_BYTES_MAX) -> bytes | None:
        """Like `take`, but empty when nothing waits.

        For a server that writes for many sessions in one task. After `on_ready` it takes until
        it gets nothing; then `on_ready` is called again for what comes next.
        """

    def end(self) -> None:
        """The socket is gone: forget the client. May be called twice."""


class SessionHub(Protocol):
    """The hub, as a server sees it."""

    @property
    def is_full(self) -> bool:
        """Whether it takes no further connection; the server answers 503, or closes with 3504."""

    def open(
        self,
        codec: Codec,
        remote: str,
        principal: Principal | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> Session:
        """A new connection from an address.

        With a principal its token has been checked, and `Connect` needs none. `on_ready` is called
        when something waits, or the hub has ended the session; it must not block or raise.
        """


class Authenticator(Protocol):
    """Says who a token belongs to, and which tokens have been revoked."""

    async def authenticate(self, token: str, remote: str) -> Principal:
        """The principal of a connection's token. Raises `Refused`."""

    async def subscription(self, token: str, principal: Principal, channel: str) -> float:
        """The end of a subscription's token, in seconds since 1970; 0 for none.

        Raises `Refused`, also if the token is another principal's or for another channel.
        """

    async def revoked(self, tokens: Collection[str]) -> Collection[str]:
        """Those of these ids of tokens that have been revoked. Asked twice a second."""


class Methods(Protocol):
    """What clients call by `rpc`."""

    async def call(self, principal: Principal, method: str, data: bytes) -> bytes:
        """The result, as JSON. Raises `Refused`, with 104 for an unknown method."""


class Feed(Protocol):
    """Where a source gives its publications. Use it on the event loop."""

    @property
    def position(self) -> int | None:
        """How far the hub has a journal; None before anything was given."""

    def publish(self, channel: str, publication: Publication) -> None:
        """Give the next publication of a channel.

        In a journal channel its offset is its position in the log; elsewhere the hub numbers it.
        """

    def moved(self, position: int) -> None:
        """All events of the log up to this position have been given."""

    def is_wanted(self, channel: str) -> bool:
        """Whether the channel has been used lately: others need no encoding."""


class ChannelSource(Protocol):
    """Feeds channels of the hub."""

    def kind_of(self, channel: str) -> ChannelKind | None:
        """What the channel promises; None for a channel that is not of this source."""

    @property
    def epoch(self) -> str:
        """For journal channels: the identity of the log. Empty for others."""

    async def run(self, feed: Feed) -> None:
        """Follow what it follows until cancelled. The hub starts it again after an error."""

    async def open(self, channel: str) -> None:
        """A client subscribes to the channel: `snapshot` must be right after this."""

    def snapshot(self, channel: str) -> bytes:
        """The present state as JSON, to which the next publication adds; empty for none."""

    async def read(self, channel: str, after: int, limit: int) -> Page | None:
        """Publications of a journal channel after a position, oldest first.

        None if the log has not reached that position, or does not have what follows it any more.
        Raises a `CallboardError`.
        """


class Edge(Protocol):
    """The server of a hub, in the hub's process."""

    async def start(self, hub: SessionHub) -> str:
        """Serve. Gives the address as a URL. Raises a `CallboardError`."""

    async def stop(self) -> None:
        """End all connections in order, within two seconds."""
