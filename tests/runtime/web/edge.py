"""A real hub behind a real server on a free port, with a journal in memory."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter

from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.messages import ChannelKind, Outbound
from callboard.actors.streaming.ports import Feed, Page, Refused
from callboard.actors.streaming.protocol import ErrorCode, Publication
from callboard.messages.control.filters import ChannelRule, StreamFilter
from callboard.messages.control.principals import Principal, Scope
from callboard.runtime.web.server import WebServer
from callboard.runtime.web.settings import WebSettings

EPOCH = "journal-1"
GOOD = "a-good-token-0123456789"
LIMITED = "a-limited-token-0123456789"
EXPIRED = "an-expired-token-0123456789"
EVERYTHING = Principal(
    subject="ada",
    way="http",
    scopes=(Scope.READ, Scope.PUBLISH),
    channels=("*",),
    publishes=("*",),
    token="t1",
)
SUBSCRIBING = "a-subscribing-token-0123456789"
RULED = "a-ruled-token-0123456789"
SUBSCRIBED = EVERYTHING.model_copy(update={"subscribes": ("events", "room:1"), "token": "t3"})
SEES_A = SUBSCRIBED.model_copy(
    update={
        "subscribes": ("events",),
        "rules": (
            ChannelRule(channels="ev*", filter=StreamFilter(key="tenant", cmp="eq", val="a")),
        ),
        "token": "t4",
    }
)
LITTLE = Principal(subject="bob", way="http", scopes=(), channels=("room:*",), token="t2")


@dataclass
class Tokens:
    """The tokens that count."""

    known: dict[str, Principal] = field(
        default_factory=lambda: {
            GOOD: EVERYTHING,
            LIMITED: LITTLE,
            SUBSCRIBING: SUBSCRIBED,
            RULED: SEES_A,
        }
    )
    gone: set[str] = field(default_factory=set)

    async def authenticate(self, token: str, remote: str) -> Principal:
        if token == EXPIRED:
            raise Refused("the token has expired.", code=ErrorCode.TOKEN_EXPIRED)
        if token not in self.known:
            raise Refused("the token is unknown.")
        return self.known[token]

    async def subscription(self, token: str, principal: Principal, channel: str) -> float:
        raise Refused("there are no tokens of subscriptions.")

    async def revoked(self, tokens: Collection[str]) -> Collection[str]:
        return self.gone & set(tokens)


class MemoryJournal:
    """The channels `events` and `executions`, whose log survives its hubs."""

    def __init__(self) -> None:
        self.log: list[Publication] = []
        self.grown = asyncio.Event()

    @property
    def epoch(self) -> str:
        return EPOCH

    def kind_of(self, channel: str) -> ChannelKind | None:
        return ChannelKind.JOURNAL if channel in {"events", "executions"} else None

    def append(self, payload: Any, *, channel: str = "events", **tags: str) -> int:
        offset = len(self.log) + 1
        self.log.append(publication(channel, payload, offset, **tags))
        self.grown.set()
        return offset

    async def run(self, feed: Feed) -> None:
        seen = len(self.log)
        feed.moved(seen)
        while True:
            for each in self.log[seen:]:
                feed.publish(each.channel, copy_of(each))
            seen = len(self.log)
            feed.moved(seen)
            self.grown.clear()
            await self.grown.wait()

    async def open(self, channel: str) -> None:
        pass

    def snapshot(self, channel: str) -> bytes:
        return b""

    async def read(self, channel: str, after: int, limit: int) -> Page | None:
        if after > len(self.log):
            return None
        found = [copy_of(each) for each in self.log[after : after + limit]]
        seen = min(after + limit, len(self.log))
        return Page([each for each in found if each.channel == channel], seen)


def publication(channel: str, payload: Any, offset: int = 0, **tags: str) -> Publication:
    data = json.dumps({"event_id": str(offset), "payload": payload}).encode()
    return Publication(channel, data, offset, tags, EPOCH if offset else "")


def copy_of(each: Publication) -> Publication:
    return Publication(each.channel, each.data, each.offset, each.tags, each.epoch)


@dataclass
class Served:
    """What a test sees of it."""

    url: str
    hub: Hub
    server: WebServer
    tokens: Tokens
    journal: MemoryJournal

    @property
    def port(self) -> int:
        found = urlsplit(self.url).port
        assert found is not None
        return found

    @property
    def socket_url(self) -> str:
        return f"{self.url.replace('http', 'ws', 1)}connection/websocket"

    @property
    def plain_url(self) -> str:
        return f"{self.url.replace('http', 'ws', 1)}stream"

    def publish(self, channel: str, payload: Any, **tags: str) -> None:
        """Publish to a channel without a journal."""
        data = json.dumps(payload).encode()
        self.hub.publish_outbound((Outbound(channel=channel, data=data, tags=tags),))


@contextlib.asynccontextmanager
async def serving(
    settings: WebSettings | None = None,
    *,
    limits: HubLimits | None = None,
    journal: MemoryJournal | None = None,
    tokens: Tokens | None = None,
    routers: Sequence[APIRouter] = (),
    page: Path | None = None,
) -> AsyncIterator[Served]:
    """Serve until the end of the block."""
    tokens, journal = tokens or Tokens(), journal or MemoryJournal()
    hub = Hub(tokens, sources=[journal], limits=limits)
    server = WebServer(settings or WebSettings(), tokens, routers=routers, page=page)
    hub.start()
    url = await server.start(hub)
    try:
        yield Served(url, hub, server, tokens, journal)
    finally:
        await server.stop()
        await hub.stop()
