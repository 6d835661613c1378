"""The hub as an actor, and `ctx.publish` from any host to all hubs."""

import asyncio
from typing import Any

import pytest

from callboard import Actor, Contract, Request, handler, start
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.actors.streaming.actor import (
    HubParts,
    QueryConnections,
    QueryHub,
    StreamHub,
    SubscribeUser,
)
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.messages import EVENT_BYTES_MAX, StreamEvent
from callboard.actors.streaming.ports import SessionHub
from callboard.actors.streaming.publisher import EVENTS_MAX, EventQueue
from callboard.messages.control.spec import Restart
from callboard.messages.core.errors import InvalidMessage, UsageError
from tests.runtime.delivery.http_server import until

from .clients import Client, Tokens, publish


class Placed(Contract, name="test.placed"):
    """Something to publish."""

    number: int


class Say(Request[Contract], name="test.say"):
    """Publish from an actor."""

    channel: str
    number: int
    key: str = ""


class Speaker(Actor):
    """Publishes what it is asked to."""

    @handler
    async def say(self, request: Say, ctx: Context) -> Placed:
        ctx.publish(request.channel, Placed(number=request.number), key=request.key)
        return Placed(number=request.number)


class Local:
    """The `Edge` of hubs in this process: clients find them in `HUBS`."""

    async def start(self, hub: SessionHub) -> str:
        assert isinstance(hub, Hub)
        HUBS.append(hub)
        return "here"

    async def stop(self) -> None: ...


HUBS: list[Hub] = []


def parts(ctx: Context) -> HubParts:
    return HubParts(Tokens(), edge=Local())


async def test_what_an_actor_publishes_reaches_the_clients_of_all_hubs() -> None:
    hubs = HUBS
    hubs.clear()
    async with start(engine="inline", hosts=2) as system:
        speaker = await system.spawn(Speaker, host=2)
        assert not system.publish("news", Placed(number=0))
        refs = [
            await system.spawn(
                props(StreamHub, parts), host=host, offer=True, restart=Restart.PERMANENT
            )
            for host in (1, 2)
        ]
        clients = [Client(), Client()]
        for client, hub in zip(clients, hubs, strict=True):
            await client.connect(hub)
            await client.subscribe("news")
        await speaker.ask(Say(channel="news", number=1))
        assert system.publish("news", Placed(number=2))

        def all_here() -> bool:
            for client in clients:
                client.read()
            return all(len(client.data.get("news", ())) == 2 for client in clients)

        await until(all_here)
        events = [StreamEvent.model_validate(each) for each in clients[0].data["news"]]
        assert sorted(event.payload["number"] for event in events) == [1, 2]
        assert {event.event_type for event in events} == {"test.placed"}
        assert any(event.source.startswith("host-2/") for event in events)
        view = await refs[0].ask(QueryConnections())
        assert view.address == "here"
        assert [each.channels for each in view.connections] == [("news",)]
        assert view.accounts["sent"] == 2
        assert (await refs[1].ask(QueryHub())).connections == ()
        with pytest.raises(UsageError, match="only the system"):
            system.publish("alerts", Placed(number=3))
    assert [client.session.closing and client.session.closing.code for client in clients] == [
        3001, 3001,
    ]  # fmt: skip


def test_a_queue_refuses_what_clients_could_not_get() -> None:
    queue = EventQueue()
    queue.begin(lambda: None, lambda: True)
    large = StreamEvent(
        event_id="e", event_type="t", timestamp=0.0, source="s", payload="x" * EVENT_BYTES_MAX
    )
    surrogate = StreamEvent(
        event_id="e", event_type="t", timestamp=0.0, source="s", payload="\ud800"
    )
    wrong: list[tuple[str, Any]] = [
        ("news", large),
        ("news", surrogate),
        ("", Placed(number=1)),
        ("n" * 256, Placed(number=1)),
        ("system", Placed(number=1)),
        ("news", {"a": 1}),
    ]
    for channel, event in wrong:
        with pytest.raises((UsageError, InvalidMessage)):
            queue.publish(channel, event, source="s")
    assert queue.waiting == 0


def test_a_queue_is_bounded_and_counts() -> None:
    queue = EventQueue()
    woken: list[int] = []
    queue.begin(lambda: woken.append(1), lambda: True)
    outcomes = [
        queue.publish("news", Placed(number=each), source="s") for each in range(EVENTS_MAX + 5)
    ]
    assert outcomes.count(False) == queue.dropped["full"] == 5
    assert woken == [1]
    taken = 0
    while items := queue.take():
        taken += len(items)
    assert taken == EVENTS_MAX == queue.published


async def test_threads_may_publish() -> None:
    hubs = HUBS
    hubs.clear()
    async with start(engine="inline", hosts=1) as system:
        await system.spawn(props(StreamHub, parts), offer=True)
        client = Client()
        await client.connect(hubs[0])
        await client.subscribe("news")

        def publish() -> None:
            for number in range(50):
                system.publish("news", Placed(number=number))

        await asyncio.gather(*(asyncio.to_thread(publish) for _ in range(4)))

        def all_here() -> bool:
            client.read()
            return len(client.data.get("news", ())) == 200

        await until(all_here)


async def test_an_actor_has_the_clients_of_a_user_subscribed() -> None:
    HUBS.clear()
    async with start(engine="inline", hosts=1) as system:
        hub = await system.spawn(props(StreamHub, parts), host=1, offer=True)
        one, two = Client(), Client()
        for client in (one, two):
            await client.connect(HUBS[0])
        wanted = SubscribeUser(user="ada", channel="news")
        assert (await hub.ask(wanted)).clients == 2
        assert (await hub.ask(wanted)).clients == 0
        assert (await hub.ask(SubscribeUser(user="eve", channel="news"))).clients == 0
        publish(HUBS[0], "news", 1)
        ended = await hub.ask(SubscribeUser(user="ada", channel="news", ends=True))
        assert ended.clients == 2
        publish(HUBS[0], "news", 2)
        for client in (one, two):
            client.read()
            assert client.data == {"news": [1]}
