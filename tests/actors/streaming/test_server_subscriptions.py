"""Subscriptions that the server makes: at connect, later, over restarts, and what ends them."""

import asyncio

import pytest

from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.ports import Page
from callboard.actors.streaming.protocol import (
    Disconnect,
    ErrorCode,
    Position,
    Publication,
    Unsubscribe,
)
from callboard.messages.control.principals import Principal

from .clients import (
    PRINCIPAL,
    Client,
    Line,
    LogSource,
    Tokens,
    balanced,
    end_of,
    event,
    feed_of,
    following,
    joined,
    publish,
    settled,
)
from .conftest import MakeHub


def subscribing(*channels: str, **more: object) -> Tokens:
    """A token that subscribes its clients."""
    return Tokens({"good": PRINCIPAL.model_copy(update={"subscribes": channels, **more})})


def log_of(count: int) -> list[Publication]:
    return [event("execution:1", number, offset=number) for number in range(1, count + 1)]


async def test_a_client_is_subscribed_when_it_connects(make_hub: MakeHub) -> None:
    hub = make_hub(tokens=subscribing("news", "sport"))
    client = await joined(hub)
    publish(hub, "news", 1, 2)
    publish(hub, "sport", 3)
    publish(hub, "other", 4)
    client.read()
    assert client.data == {"news": [1, 2], "sport": [3]}
    assert (await client.subscribe("news"))["code"] == ErrorCode.ALREADY_SUBSCRIBED
    await client.do(Unsubscribe("news"))
    publish(hub, "news", 5)
    client.read()
    assert client.data["news"] == [1, 2]
    assert balanced(hub)


async def test_what_the_token_does_not_cover_is_left_out(make_hub: MakeHub) -> None:
    hub = make_hub(tokens=subscribing("news", "system", "a\n", "secret", channels=("news", "sys*")))
    client = await joined(hub)
    assert list(client.positions) == ["news"]


@pytest.mark.parametrize("missed", [0, 3, 700])
async def test_it_resumes_after_the_hub_has_restarted(make_hub: MakeHub, missed: int) -> None:
    log = log_of(2)
    tokens = subscribing("events", "news")
    source = LogSource(log)
    hub = await following(make_hub, source, tokens=tokens)
    client = await joined(hub)
    log.append(event("execution:1", 3, offset=3))
    source.follow(feed_of(hub, source))
    client.read()
    assert client.got == {"events": [3]}
    client.drop()
    log += [event("execution:1", number, offset=number) for number in range(4, 4 + missed)]
    second = LogSource(log)
    restarted = await following(make_hub, second, tokens=tokens)
    await client.connect(restarted)
    while len(client.got["events"]) < 1 + missed:
        await asyncio.sleep(0)
        client.read()
    log.append(event("execution:1", 9_999, offset=4 + missed))
    second.follow(feed_of(restarted, second))
    await settled()
    client.read()
    assert client.got["events"] == list(range(3, 5 + missed))
    assert client.positions["events"].epoch == "log-1"
    assert balanced(restarted)


async def test_the_reply_comes_before_all_that_was_published_meanwhile(make_hub: MakeHub) -> None:
    """One channel reads its log, while another one, which is ready, is published to."""
    waits, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(LogSource):
        async def read(self, channel: str, after: int, limit: int) -> Page | None:
            waits.set()
            await goes_on.wait()
            return await super().read(channel, after, limit)

    source = Slow(log_of(5))
    hub = await following(make_hub, source, tokens=subscribing("news", "events"))
    client = Client()
    client.positions["events"] = Position(2, "log-1")
    connecting = asyncio.ensure_future(client.connect(hub))
    await waits.wait()
    publish(hub, "news", 1)
    assert not client.session.take_now()
    goes_on.set()
    await connecting
    publish(hub, "news", 2)
    client.read()
    assert client.got["events"] == [3, 4, 5]
    assert client.positions["news"].offset == 2
    assert client.data["news"] == [2]  # 1 was published before the subscription began.


async def test_without_its_log_the_client_comes_back_later(make_hub: MakeHub) -> None:
    source = LogSource(log_of(5))
    hub = make_hub(source, tokens=subscribing("events"))
    unread = await joined(hub)
    assert end_of(unread.session) == Disconnect.INTERNAL
    await source.run(feed_of(hub, source))
    source.is_away = True
    client = Client()
    client.positions["events"] = Position(1, "log-1")
    await client.connect(hub)
    assert end_of(client.session) == Disconnect.INTERNAL
    assert not hub.core.connections
    assert not client.replies


async def test_a_channel_that_begins_again_is_a_new_connection(make_hub: MakeHub) -> None:
    source = LogSource([])
    hub = await following(make_hub, source, tokens=subscribing("events"))
    client = await joined(hub)
    source.epoch = "log-2"
    feed_of(hub, source).moved(0)
    assert end_of(client.session) == Disconnect.INSUFFICIENT_STATE


async def test_much_replay_of_many_channels_does_not_fill_the_queue(make_hub: MakeHub) -> None:
    limits = HubLimits(replay_bytes_max=2_000, queue_bytes_soft=1 << 16, queue_bytes_max=1 << 17)
    names = [f"room:{number}" for number in range(20)]
    hub = make_hub(tokens=subscribing(*names), limits=limits)
    client = await joined(hub)
    client.drop()
    for name in names:
        publish(hub, name, *range(100_000, 100_100))
    await client.connect(hub)
    frame = len(str(client.replies))
    await settled()
    client.read()
    assert end_of(client.session) is None
    assert {name: len(found) for name, found in client.got.items()} == dict.fromkeys(names, 100)
    assert frame < 1 << 16
    assert balanced(hub)


async def test_the_server_subscribes_and_unsubscribes_a_connected_client(make_hub: MakeHub) -> None:
    hub = make_hub(tokens=Tokens({"good": PRINCIPAL.model_copy(update={"channels": ("news",)})}))
    client = await joined(hub)
    (name,) = hub.clients_of("ada")
    publish(hub, "news", 1)
    assert await hub.subscribe(name, "news")
    assert not await hub.subscribe(name, "news")
    assert not await hub.subscribe(name, "secret")
    assert not await hub.subscribe("nobody", "news")
    publish(hub, "news", 2)
    client.read()
    assert client.data == {"news": [2]}
    assert hub.unsubscribe(name, "news")
    assert not hub.unsubscribe(name, "news")
    publish(hub, "news", 3)
    client.read()
    assert client.data == {"news": [2]}
    assert client.pushes[-1] == {"unsubscribed": "news", "code": 2_000}


async def test_both_may_subscribe_at_once_and_one_of_them_does(make_hub: MakeHub) -> None:
    tokens = Tokens()
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def subscription(token: str, principal: Principal, channel: str) -> float:
        asked.set()
        await goes_on.wait()
        return 0.0

    tokens.subscription = subscription  # type: ignore[method-assign]
    hub = make_hub(tokens=tokens)
    client = await joined(hub)
    wanted = asyncio.ensure_future(client.subscribe("news", token="t"))
    await asked.wait()
    assert await hub.subscribe(client.session.client, "news")
    goes_on.set()
    assert (await wanted)["code"] == ErrorCode.ALREADY_SUBSCRIBED
    publish(hub, "news", 1)
    client.read()
    assert client.data == {"news": [1]}
    assert balanced(hub)


async def test_a_client_of_another_codec_is_subscribed_too(make_hub: MakeHub) -> None:
    hub = make_hub(tokens=subscribing("news"))
    clients = [await joined(hub, codec=Line(name, is_shared=False)) for name in ("one", "two")]
    publish(hub, "news", 1)
    for client in clients:
        client.read()
        assert client.data == {"news": [1]}
