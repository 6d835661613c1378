"""`hub`: deliveries to many WebSocket clients in another process, and what a connection costs.

| figure | what happens |
|---|---|
| `deliveries_*_per_s` | events of 200 bytes to few or many connections, each event a message |
| `joined_*_per_s` | the same, as the server does it: what waits for a client is one message |
| `latency_*` | one event each millisecond, from `publish` in the hub to the client's process |
| `agent_*` | the same from an agent on another host, through the hub as an actor on Ray |
| `bytes_per_connection` | private memory for an idle connection with one subscription |
| `storm_s` | so many clients come back after a restart, all at once, until each has resumed |
| `others_*`, `storm_others_*` | asks of an actor on another host, before such a storm and in it |
"""

import asyncio
import functools
import gc
import itertools
import time
from collections.abc import Collection, Sequence
from typing import Final, Literal

import uvloop

import callboard
from bench.hub import (
    SIZES,
    ClientProcess,
    client_process,
    event_data,
    latencies,
    publish_all,
    rates,
)
from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of
from callboard import Agent, Context, Contract, Request, System, handler, props
from callboard.actors.streaming.actor import HubParts, QueryHub, StreamHub
from callboard.actors.streaming.channel import Channel
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.messages import ChannelKind
from callboard.actors.streaming.ports import Feed, Page
from callboard.actors.streaming.protocol import Publication
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.principals import LOCAL, Principal
from callboard.runtime.web.server import WebServer
from callboard.runtime.web.settings import WebLimits, WebSettings

__all__ = ["run"]

PATH: Final = "/connection/websocket"
ROOM: Final = "room:1"
LOG: Final = "log:1"
MARK: Final = '"pub":'
CONNECT: Final = '{"id":1,"connect":{"token":"bench"}}'
SUBSCRIBED: Final = '"id":2'
EPOCH: Final = "bench"
LIMITS: Final = HubLimits(user_connections_max=10_000)
EVERY_S: Final = 0.001
LOGGED: Final = 100
"""The events of the log; a client of the storm has missed half of them."""
RESUME: Final = (
    f'{{"id":2,"subscribe":{{"channel":"{LOG}","recover":true,'
    f'"offset":{LOGGED // 2},"epoch":"{EPOCH}"}}}}'
)
ASK_EVERY_S: Final = 0.002
CALM_S: Final = 3.0


class _Anyone:
    """Every token counts."""

    async def authenticate(self, token: str, remote: str) -> Principal:
        return LOCAL

    async def subscription(self, token: str, principal: Principal, channel: str) -> float:
        return 0.0

    async def revoked(self, tokens: Collection[str]) -> Collection[str]:
        return ()


class _Log:
    """A log with some events."""

    epoch = EPOCH

    def __init__(self) -> None:
        self._events: Sequence[bytes] = [event_data(number) for number in range(LOGGED)]

    def kind_of(self, channel: str) -> ChannelKind | None:
        return ChannelKind.JOURNAL if channel == LOG else None

    async def run(self, feed: Feed) -> None:
        feed.moved(len(self._events))
        await asyncio.Event().wait()

    async def open(self, channel: str) -> None:
        pass

    def snapshot(self, channel: str) -> bytes:
        return b""

    async def read(self, channel: str, after: int, limit: int) -> Page:
        found = [
            Publication(channel, data, after + index + 1, epoch=EPOCH)
            for index, data in enumerate(self._events[after : after + limit])
        ]
        return Page(found, after + len(found))


class _Edge:
    """A hub and its server in this process."""

    def __init__(self, joined_bytes: int = WebLimits().joined_bytes_max) -> None:
        limits = WebLimits(joined_bytes_max=joined_bytes)
        self.hub = Hub(_Anyone(), sources=[_Log()], limits=LIMITS)
        self.server = WebServer(WebSettings(limits=limits), _Anyone())

    async def start(self) -> int:
        self.hub.start()
        url = await self.server.start(self.hub)
        return int(url.rstrip("/").rpartition(":")[2])

    async def stop(self) -> None:
        await self.server.stop()
        await self.hub.stop()

    def is_blocked(self) -> bool:
        """Whether a client is behind."""
        room = LIMITS.queue_bytes_soft // 2
        return any(each.out.room < room for each in self.hub.core.connections.values())

    def publish(self, data: bytes) -> None:
        """Publish one event."""
        channel = self.hub.channel_for(ROOM)
        assert isinstance(channel, Channel)
        self.hub.publish(channel, Publication(ROOM, data, tags={"type": "bench"}))


async def _open(clients: ClientProcess, count: int, *more: str) -> float:
    """Open connections that subscribe; the seconds that it took."""
    subscribe = f'{{"id":2,"subscribe":{{"channel":"{ROOM}"}}}}'
    hello = f"{CONNECT}\n{more[0] if more else subscribe}"
    await clients.order(open=count, hello=[hello], ready=SUBSCRIBED)
    report = await clients.report()
    return float(report["done_ns"] - report["begun_ns"]) / 1e9


async def _deliveries(params: Params) -> tuple[dict[str, float], list[int]]:
    figures, counts = {}, []
    for name, joined_bytes in (("deliveries", 1), ("joined", WebLimits().joined_bytes_max)):
        for size in SIZES:
            edge, events = _Edge(joined_bytes), params[f"{size}_events"]
            async with client_process(await edge.start(), PATH) as clients:
                await _open(clients, params[size])
                gc.collect()
                figures[f"{name}_{size}_per_s"], count = await rates(
                    clients,
                    events,
                    params[size],
                    MARK,
                    functools.partial(publish_all, events, edge.publish, edge.is_blocked),
                )
                counts.append(count)
            await edge.stop()
    return figures, counts


async def _latency(events: int) -> dict[str, float]:
    edge = _Edge()
    async with client_process(await edge.start(), PATH) as clients:
        await _open(clients, 10)
        await clients.order(times=events * 10)
        begun_s = time.monotonic()
        for number in range(events):
            edge.publish(event_data(number))
            await asyncio.sleep(max(0.0, begun_s + number * EVERY_S - time.monotonic()))
        report = await clients.report()
    await edge.stop()
    return latencies("latency", report["times_ns"])


async def _memory(connections: int) -> dict[str, float]:
    edge = _Edge()
    async with client_process(await edge.start(), PATH) as clients:
        await _open(clients, 50)
        gc.collect()
        before = own_bytes()
        await _open(clients, connections)
        gc.collect()
        found = (own_bytes() - before) / connections
    await edge.stop()
    return {"bytes_per_connection": found}


async def _storm(connections: int) -> dict[str, float]:
    edge = _Edge()
    async with client_process(await edge.start(), PATH) as clients:
        found = await _open(clients, connections, RESUME)
        subscriptions = edge.hub.core.figures()["subscriptions"]
    await edge.stop()
    if subscriptions < connections:
        raise AssertionError(f"only {subscriptions} of {connections} have resumed")
    return {"storm_s": found}


# --- from an agent -------------------------------------------------------------------------------


class Published(Contract):
    """One event of an agent."""

    at: int
    number: int


class PublishEach(Request[Published]):
    """Publish so many events, one each millisecond."""

    count: int


class Publisher(Agent):
    """Publishes."""

    @handler
    async def publish_each(self, request: PublishEach, ctx: Context) -> Published:
        """Publish, with the time at which."""
        begun_s = time.monotonic()
        for number in range(request.count):
            ctx.publish(ROOM, Published(at=time.monotonic_ns(), number=number))
            await asyncio.sleep(max(0.0, begun_s + number * EVERY_S - time.monotonic()))
        return Published(at=time.monotonic_ns(), number=request.count)


def _parts(_ctx: Context) -> HubParts:
    server = WebServer(WebSettings(), _Anyone())
    return HubParts(_Anyone(), sources=[_Log()], edge=server, limits=LIMITS)


async def _start_hub(system: System) -> int:
    """The port of a hub on a host of its own."""
    place = Placement(isolated=Resources(cpus=0))
    hub = await system.spawn(props(StreamHub, _parts), name="hub", placement=place, offer=True)
    return int((await hub.ask(QueryHub())).address.rstrip("/").rpartition(":")[2])


async def _from_agent(system: System, events: int) -> dict[str, float]:
    port = await _start_hub(system)
    publisher = await system.spawn(Publisher)
    async with client_process(port, PATH) as clients:
        await _open(clients, 10)
        await publisher.ask(PublishEach(count=events // 10), timeout_s=60)
        await clients.order(times=events * 10)
        await publisher.ask(PublishEach(count=events), timeout_s=60)
        report = await clients.report()
    return latencies("agent", report["times_ns"])


class Ping(Request[Published]):
    """Answer."""


class Other(Agent):
    """Has other work."""

    @handler
    async def ping(self, request: Ping) -> Published:
        """Answer at once."""
        return Published(at=time.monotonic_ns(), number=0)


async def _storm_with_others(system: System, connections: int) -> dict[str, float]:
    """Asks before a storm and in it, whether earlier ones are answered or not.

    The clients give way to all: their work would be on other machines.
    """
    port = await _start_hub(system)
    other = await system.spawn(Other)
    times_ns: list[float] = []

    async def ask(due_s: float) -> None:
        await other.ask(Ping(), timeout_s=60)
        times_ns.append((time.monotonic() - due_s) * 1e9)

    async def ask_always(asks: asyncio.TaskGroup) -> None:
        begun_s = time.monotonic()
        for number in itertools.count():
            due_s = begun_s + number * ASK_EVERY_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            asks.create_task(ask(due_s))

    async with client_process(port, PATH, niceness=10) as clients, asyncio.TaskGroup() as asks:
        await _open(clients, max(1, connections // 10), RESUME)
        asking = asks.create_task(ask_always(asks))
        await asyncio.sleep(CALM_S)
        calm = times_ns[len(times_ns) // 2 :]
        times_ns.clear()
        await _open(clients, connections, RESUME)
        await asyncio.sleep(2 * ASK_EVERY_S)  # Of a small storm too, there is one.
        in_storm = list(times_ns)
        asking.cancel()
    return latencies("others", calm) | latencies("storm_others", in_storm)


async def _in_this_process(params: Params) -> tuple[dict[str, float], list[int]]:
    # First, because what other connections have left in the heap would hide the memory of new ones.
    memory = await _memory(params["idle"])
    figures, counts = await _deliveries(params)
    figures |= memory | await _latency(params["latency_events"])
    figures |= await _storm(params["storm"])
    return figures, counts


def run(params: Params) -> Outcome:
    """All figures, one after the other."""
    figures, counts = uvloop.run(_in_this_process(params))
    if counts[: len(SIZES)] != counts[len(SIZES) :]:
        raise AssertionError(f"joined frames lose or add deliveries: {counts}")
    if params["agent_events"]:

        async def main(system: System) -> dict[str, float]:
            return await _from_agent(system, params["agent_events"])

        figures |= callboard.run(main, hosts=1, standbys=0)

    async def with_others(system: System) -> dict[str, float]:
        return await _storm_with_others(system, params["storm"])

    engine: Literal["inline", "ray"] = "ray" if params["agent_events"] else "inline"
    figures |= callboard.run(with_others, engine=engine, hosts=1, standbys=0)
    note = "deliveries: 16 events at a time, with the pace of the slowest client; clients on Python"
    return Outcome(figures, check_of(counts[: len(SIZES)]), (note,))
