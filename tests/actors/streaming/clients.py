"""Clients of a hub in this process: they keep their positions, as an SDK does, and come back."""

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from callboard.actors.streaming.hub import Hub, SourceFeed
from callboard.actors.streaming.messages import ChannelKind
from callboard.actors.streaming.ports import Feed, Page, Refused, Session
from callboard.actors.streaming.protocol import (
    Began,
    Command,
    Connect,
    Connected,
    Dropped,
    ErrorCode,
    Failed,
    Join,
    Leave,
    Message,
    Position,
    Publication,
    Push,
    Reply,
    Subscribe,
    Subscribed,
    Unsubscribed,
)
from callboard.messages.control.principals import ALL_SCOPES, Principal

__all__ = [
    "PRINCIPAL",
    "Client",
    "Line",
    "LogSource",
    "Tokens",
    "balanced",
    "end_of",
    "event",
    "feed_of",
    "following",
    "joined",
    "publish",
    "settled",
]

PRINCIPAL = Principal(
    subject="ada", way="http", scopes=ALL_SCOPES, channels=("*",), publishes=("*",), token="t-1"
)


def event(
    channel: str, number: int = 0, offset: int = 0, key: str = "", **tags: str
) -> Publication:
    """A publication whose data is its number."""
    return Publication(channel, b"%d" % number, offset=offset, tags=tags, key=key)


class Line:
    """A codec for tests: one JSON object for each reply and push, joined by line breaks."""

    def __init__(self, name: str = "line", *, is_shared: bool = True) -> None:
        self.name = name
        self.is_shared = is_shared
        self.answers_pings = True
        self.pushes_encoded = 0

    def reply(self, number: int, command: Command, reply: Reply | None) -> bytes:
        plain: dict[str, Any] = {"id": number, "reply": type(reply).__name__}
        if isinstance(reply, Failed):
            plain |= {"code": reply.code}
        if isinstance(reply, Subscribed):
            assert isinstance(command, Subscribe)
            plain |= self._subscribed(command.channel, reply)
        if isinstance(reply, Connected):
            plain["subs"] = [self._subscribed(*each) for each in reply.subs.items()]
        return json.dumps(plain).encode()

    def _subscribed(self, channel: str, reply: Subscribed) -> dict[str, Any]:
        position = reply.position or Position(0, "")
        return {
            "channel": channel,
            "recovered": reply.recovered,
            "was_recovering": reply.was_recovering,
            "offset": position.offset,
            "epoch": position.epoch,
            "publications": [self._plain(each) for each in reply.publications],
            "data": reply.data.decode(),
        }

    @staticmethod
    def _plain(publication: Publication) -> dict[str, Any]:
        return {
            "pub": publication.channel,
            "offset": publication.offset,
            "data": json.loads(publication.data),
            "tags": dict(publication.tags),
        }

    def push(self, push: Push) -> bytes:
        self.pushes_encoded += 1
        plain: dict[str, Any] = {}
        match push:
            case Publication():
                plain = self._plain(push)
            case Began():
                plain = {"began": self._subscribed(push.channel, push.subscribed)}
            case Join() | Leave():
                plain = {type(push).__name__: push.channel, "client": push.client.client}
            case Message():
                plain = {"message": push.data.decode()}
            case Dropped():
                plain = {"dropped": push.channel, "count": push.count, "reason": push.reason}
            case Unsubscribed():
                plain = {"unsubscribed": push.channel, "code": push.code}
        return json.dumps(plain).encode()

    def ping(self) -> bytes:
        return b"{}"

    def join(self, parts: Sequence[bytes]) -> bytes:
        return b"\n".join(parts)


class Tokens:
    """An `Authenticator` with a table."""

    def __init__(self, principals: dict[str, Principal] | None = None) -> None:
        self.principals = {"good": PRINCIPAL} if principals is None else principals
        self.revoked_ids: set[str] = set()
        self.ends: dict[str, float] = {}

    async def authenticate(self, token: str, remote: str) -> Principal:
        if token == "old":
            raise Refused("the token has expired.", code=ErrorCode.TOKEN_EXPIRED)
        if token not in self.principals:
            raise Refused("the token does not count.")
        return self.principals[token]

    async def subscription(self, token: str, principal: Principal, channel: str) -> float:
        if token not in self.ends:
            raise Refused("the token does not count.")
        return self.ends[token]

    async def revoked(self, tokens: Collection[str]) -> Collection[str]:
        return self.revoked_ids & set(tokens)


class LogSource:
    """A log in memory with journal channels: `events` has all, `execution:ID` those of a stream.

    The log is what several hubs read; each has a source of its own, which follows it by `follow`.
    """

    def __init__(self, log: list[Publication], epoch: str = "log-1") -> None:
        self.log = log
        self.epoch = epoch
        self.reads = 0
        self.is_away = False

    def kind_of(self, channel: str) -> ChannelKind | None:
        is_mine = channel == "events" or channel.startswith("execution:")
        return ChannelKind.JOURNAL if is_mine else None

    async def run(self, feed: Feed) -> None:
        feed.moved(len(self.log))

    def follow(self, feed: SourceFeed, until: int | None = None) -> None:
        """Give what the log has beyond the feed's position."""
        position = feed.position or 0
        for each in self.log[position : len(self.log) if until is None else until]:
            for channel in ("events", each.channel):
                if feed.is_wanted(channel):
                    feed.publish(channel, copy(each, channel))
            feed.moved(each.offset)

    async def open(self, channel: str) -> None: ...

    def snapshot(self, channel: str) -> bytes:
        return b""

    async def read(self, channel: str, after: int, limit: int) -> Page | None:
        self.reads += 1
        if self.is_away:
            raise Refused("the log is away.")
        if after > len(self.log):
            return None
        found: list[Publication] = []
        for each in self.log[after:]:
            if channel in ("events", each.channel):
                found.append(copy(each, channel))
                if len(found) == limit:
                    return Page(found, each.offset)
        return Page(found, len(self.log))


def copy(publication: Publication, channel: str) -> Publication:
    return Publication(channel, publication.data, offset=publication.offset, tags=publication.tags)


class Client:
    """A client that keeps what it gets, and where it is in each channel."""

    def __init__(self, codec: Line | None = None, token: str = "good") -> None:
        self.codec = codec or Line()
        self.token = token
        self.number = 0
        self.got: dict[str, list[int]] = {}
        """The offsets of each channel, in the order they came."""
        self.data: dict[str, list[Any]] = {}
        self.positions: dict[str, Position] = {}
        self.replies: dict[int, dict[str, Any]] = {}
        self.pushes: list[dict[str, Any]] = []
        self.pings = 0

    async def connect(self, hub: Hub) -> None:
        """Open a session and connect."""
        self.hub = hub
        self.session = hub.open(self.codec, "127.0.0.1")
        await self.do(Connect(token=self.token, subs=dict(self.positions)))

    async def do(self, command: Command) -> dict[str, Any]:
        """Have a command done; gives its reply, or nothing without one."""
        self.number += 1
        await self.session.handle(self.number, command)
        self.read()
        return self.replies.get(self.number, {})

    async def subscribe(self, channel: str, **more: Any) -> dict[str, Any]:
        """Subscribe, from the last position if there is one."""
        command = Subscribe(channel, recover=self.positions.get(channel), **more)
        return await self.do(command)

    def read(self) -> None:
        """Read all that waits."""
        while frame := self.session.take_now():
            for line in frame.split(b"\n"):
                self._take(json.loads(line))

    def _take(self, found: dict[str, Any]) -> None:
        if not found:
            self.pings += 1
        elif "id" in found:
            self.replies[found["id"]] = found
            begun = found.get("subs", [found] if found["reply"] == "Subscribed" else [])
            for each in begun:
                self._began(each)
        elif "pub" in found:
            self._publication(found)
        elif "began" in found:
            self._began(found["began"])
            self.pushes.append(found)
        else:
            self.pushes.append(found)

    def _began(self, found: dict[str, Any]) -> None:
        self.positions[found["channel"]] = Position(found["offset"], found["epoch"])
        for each in found["publications"]:
            self._publication(each)

    def _publication(self, found: dict[str, Any]) -> None:
        channel, offset = found["pub"], found["offset"]
        before = self.positions[channel]
        if before.epoch:  # Without one, the hub gives the client no positions.
            assert offset > before.offset, (channel, offset, before)
            self.positions[channel] = Position(offset, before.epoch)
        self.got.setdefault(channel, []).append(offset)
        self.data.setdefault(channel, []).append(found["data"])

    def drop(self) -> None:
        """The network is gone."""
        self.session.end()


async def joined(hub: Hub, *channels: str, **more: Any) -> Client:
    """A client that has subscribed."""
    client = Client(**more)
    await client.connect(hub)
    for channel in channels:
        await client.subscribe(channel)
    return client


def publish(hub: Hub, channel: str, *numbers: int, **more: Any) -> None:
    for number in numbers:
        found = hub.channel_for(channel)
        hub.publish(found, event(channel, number, **more))  # type: ignore[arg-type]


def end_of(session: Session) -> int | None:
    """The code that the hub has ended a session with."""
    return None if session.closing is None else session.closing.code


def balanced(hub: Hub) -> bool:
    return all(each.accounts().is_balanced for each in hub.core.channels.values())


async def following(make_hub: Callable[..., Hub], *sources: LogSource, **more: Any) -> Hub:
    """A hub whose sources have found their logs."""
    hub = make_hub(*sources, **more)
    for source in sources:
        await source.run(feed_of(hub, source))
    return hub


def feed_of(hub: Hub, source: LogSource) -> Any:
    return hub._feeds[id(source)]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
