"""The official Python client, with everything that it reports in queues."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import centrifuge  # type: ignore[import-untyped]

from tests.runtime.web.edge import GOOD, Served

EVENT_S = 15.0
T = TypeVar("T")


async def soon(queue: "asyncio.Queue[T]") -> T:
    """The next item. Raises `TimeoutError`."""
    async with asyncio.timeout(EVENT_S):
        return await queue.get()


class Watched:
    """One client, and what happened to it."""

    def __init__(self, served: Served, *, is_protobuf: bool, **options: Any) -> None:
        self.connected: asyncio.Queue[Any] = asyncio.Queue()
        self.connecting: asyncio.Queue[Any] = asyncio.Queue()
        self.disconnected: asyncio.Queue[Any] = asyncio.Queue()
        self.errors: asyncio.Queue[Any] = asyncio.Queue()
        self.subscribed: asyncio.Queue[Any] = asyncio.Queue()
        self.unsubscribed: asyncio.Queue[Any] = asyncio.Queue()
        self.publications: asyncio.Queue[Any] = asyncio.Queue()
        watched = self

        class Handler(centrifuge.ClientEventHandler):  # type: ignore[misc]
            async def on_connected(self, ctx: Any) -> None:
                watched.connected.put_nowait(ctx)

            async def on_connecting(self, ctx: Any) -> None:
                watched.connecting.put_nowait(ctx)

            async def on_disconnected(self, ctx: Any) -> None:
                watched.disconnected.put_nowait(ctx)

            async def on_error(self, ctx: Any) -> None:
                watched.errors.put_nowait(ctx)

            async def on_subscribed(self, ctx: Any) -> None:
                watched.subscribed.put_nowait(ctx)

            async def on_unsubscribed(self, ctx: Any) -> None:
                watched.unsubscribed.put_nowait(ctx)

            async def on_publication(self, ctx: Any) -> None:
                watched.publications.put_nowait(ctx)

        self.is_protobuf = is_protobuf
        self.client = centrifuge.Client(
            served.socket_url,
            events=Handler(),
            use_protobuf=is_protobuf,
            proxy=None,
            **{"token": GOOD, "max_reconnect_delay": 0.2, **options},
        )

    def data(self, value: Any) -> Any:
        """A payload as this client takes it: bytes with Protobuf."""
        return json.dumps(value).encode() if self.is_protobuf else value

    def read(self, value: Any) -> Any:
        """A payload as a plain value."""
        return json.loads(value) if isinstance(value, bytes) else value

    async def event(self) -> tuple[str, Any, int]:
        """The next event of a subscription of the server: channel, payload, offset."""
        found = await soon(self.publications)
        plain = self.read(found.pub.data)
        return found.channel, plain["payload"], found.pub.offset

    def subscription(self, channel: str, **options: Any) -> "WatchedSubscription":
        return WatchedSubscription(self, channel, **options)

    async def connect(self) -> Any:
        await self.client.connect()
        return await soon(self.connected)


class WatchedSubscription:
    """One subscription, and what happened to it."""

    def __init__(self, watched: Watched, channel: str, **options: Any) -> None:
        self.watched = watched
        self.publications: asyncio.Queue[Any] = asyncio.Queue()
        self.subscribed: asyncio.Queue[Any] = asyncio.Queue()
        self.unsubscribed: asyncio.Queue[Any] = asyncio.Queue()
        self.errors: asyncio.Queue[Any] = asyncio.Queue()
        self.joined: asyncio.Queue[Any] = asyncio.Queue()
        self.left: asyncio.Queue[Any] = asyncio.Queue()
        mine = self

        class Handler(centrifuge.SubscriptionEventHandler):  # type: ignore[misc]
            async def on_publication(self, ctx: Any) -> None:
                mine.publications.put_nowait(ctx.pub)

            async def on_subscribed(self, ctx: Any) -> None:
                mine.subscribed.put_nowait(ctx)

            async def on_unsubscribed(self, ctx: Any) -> None:
                mine.unsubscribed.put_nowait(ctx)

            async def on_error(self, ctx: Any) -> None:
                mine.errors.put_nowait(ctx)

            async def on_join(self, ctx: Any) -> None:
                mine.joined.put_nowait(ctx)

            async def on_leave(self, ctx: Any) -> None:
                mine.left.put_nowait(ctx)

        self.subscription = watched.client.new_subscription(channel, Handler(), **options)

    async def subscribe(self) -> Any:
        await self.subscription.subscribe()
        return await soon(self.subscribed)

    async def payload(self) -> Any:
        """The payload of the next event of a journal channel."""
        return self.watched.read((await soon(self.publications)).data)["payload"]

    async def payloads(self, count: int) -> list[Any]:
        return [await self.payload() for _ in range(count)]


@contextlib.asynccontextmanager
async def watching(served: Served, *, is_protobuf: bool, **options: Any) -> AsyncIterator[Watched]:
    """A client that is disconnected at the end of the block."""
    watched = Watched(served, is_protobuf=is_protobuf, **options)
    try:
        yield watched
    finally:
        await watched.client.disconnect()
