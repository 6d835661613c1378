"""The official Python client, with both codecs, does all that it can with the server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from centrifuge import Filter, ReplyError, StreamPosition  # type: ignore[import-untyped]

from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.protocol import Disconnect
from callboard.runtime.web.settings import WebSettings
from tests.runtime.web.edge import (
    EPOCH,
    EVERYTHING,
    EXPIRED,
    GOOD,
    LIMITED,
    RULED,
    SUBSCRIBING,
    MemoryJournal,
    Served,
    Tokens,
    serving,
)

from .sdk import soon, watching


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(limits=HubLimits(ping_s=1, pong_s=1)) as found:
        yield found


@pytest.fixture(params=[False, True], ids=["json", "protobuf"])
def is_protobuf(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def until_gone(served: Served) -> None:
    async with asyncio.timeout(10):
        while served.hub.core.connections:  # noqa: ASYNC110 - their ends are no event
            await asyncio.sleep(0)


async def test_events_arrive_in_order(served: Served, is_protobuf: bool) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        events = watched.subscription("events")
        await events.subscribe()
        for number in range(100):
            served.journal.append(number)
        assert await events.payloads(100) == list(range(100))
    await until_gone(served)


async def test_a_bad_token_ends_for_good(served: Served, is_protobuf: bool) -> None:
    async with watching(served, is_protobuf=is_protobuf, token="x") as watched:
        await watched.client.connect()
        ended = await soon(watched.disconnected)
        assert ended.code == Disconnect.INVALID_TOKEN
        assert ended.reason
        assert "x" not in ended.reason.split()


async def test_an_expired_token_is_replaced(served: Served, is_protobuf: bool) -> None:
    asked = []

    async def get_token() -> str:
        asked.append(1)
        return GOOD

    async with watching(
        served, is_protobuf=is_protobuf, token=EXPIRED, get_token=get_token
    ) as watched:
        await watched.connect()
        assert asked == [1]


async def test_a_token_is_refreshed_on_the_same_connection(is_protobuf: bool) -> None:
    tokens = Tokens()
    tokens.known["first"] = EVERYTHING.model_copy(update={"expires_at": time.time() + 1.5})
    refreshed: asyncio.Queue[str] = asyncio.Queue()

    async def get_token() -> str:
        refreshed.put_nowait(GOOD)
        return GOOD

    async with (
        serving(tokens=tokens) as served,
        watching(served, is_protobuf=is_protobuf, token="first", get_token=get_token) as watched,
    ):
        before = await watched.connect()
        events = watched.subscription("events")
        await events.subscribe()
        await soon(refreshed)
        served.journal.append("after the refresh")
        assert await events.payload() == "after the refresh"
        assert watched.client.client_id == before.client
        assert watched.connecting.qsize() == 1


async def test_a_forced_reconnect_loses_and_repeats_nothing(
    served: Served, is_protobuf: bool
) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        events = watched.subscription("events")
        await events.subscribe()
        for turn in range(3):
            served.journal.append(f"before {turn}")
            for session in tuple(served.hub._sessions.values()):
                session.refuse(Disconnect.FORCE_RECONNECT, "force reconnect")
            served.journal.append(f"while away {turn}")
            again = await soon(events.subscribed)
            assert again.was_recovering
            assert again.recovered
        served.journal.append("at the end")
        expected = [f"{word} {turn}" for turn in range(3) for word in ("before", "while away")]
        assert await events.payloads(7) == [*expected, "at the end"]
        assert events.publications.empty()


async def test_a_client_that_saw_no_event_resumes_too(served: Served, is_protobuf: bool) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        events = watched.subscription("events")
        await events.subscribe()
        [session] = served.hub._sessions.values()
        session.refuse(Disconnect.FORCE_RECONNECT, "force reconnect")
        again = await soon(events.subscribed)
        assert again.recovered
        served.journal.append("first")
        assert await events.payload() == "first"


async def test_a_restarted_hub_is_resumed(is_protobuf: bool) -> None:
    journal = MemoryJournal()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(journal=journal) as served:
            watched = await stack.enter_async_context(watching(served, is_protobuf=is_protobuf))
            await watched.connect()
            events = watched.subscription("events")
            await events.subscribe()
            journal.append("before")
            assert await events.payload() == "before"
        assert (await soon(watched.connecting)).code == 0
        assert (await soon(watched.connecting)).code == Disconnect.SHUTDOWN
        journal.append("while the hub was away")
        async with serving(WebSettings(port=served.port), journal=journal):
            assert (await soon(events.subscribed)).recovered
            journal.append("after")
            assert await events.payloads(2) == ["while the hub was away", "after"]
            await watched.client.disconnect()


async def test_the_server_filters_by_tags(served: Served, is_protobuf: bool) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        wanted = Filter.all(Filter.eq("level", "error"), Filter.negate(Filter.eq("host", "h9")))
        events = watched.subscription("events", tags_filter=wanted)
        await events.subscribe()
        for number, (level, host) in enumerate(
            [("info", "h1"), ("error", "h1"), ("error", "h9"), ("error", "h2")]
        ):
            served.journal.append(number, level=level, host=host)
        first, second = await soon(events.publications), await soon(events.publications)
        assert (first.offset, second.offset) == (2, 4)
        assert first.tags == {"level": "error", "host": "h1"}


async def test_history_pages_in_both_directions(served: Served, is_protobuf: bool) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        events = watched.subscription("events")
        await events.subscribe()
        for number in range(10):
            served.journal.append(number)
        await events.payloads(10)
        begin = StreamPosition(0, EPOCH)
        found = await events.subscription.history(limit=3, since=begin)
        assert [each.offset for each in found.publications] == [1, 2, 3]
        assert found.offset == 10
        position = await events.subscription.history(limit=0)
        assert (position.publications, position.offset) == ([], 10)
        back = await events.subscription.history(limit=2, reverse=True)
        assert [each.offset for each in back.publications] == [10, 9]


async def test_presence_joins_and_leaves(served: Served, is_protobuf: bool) -> None:
    async with watching(served, is_protobuf=is_protobuf) as first:
        await first.connect()
        room = first.subscription("room:1", join_leave=True)
        await room.subscribe()
        async with watching(served, is_protobuf=not is_protobuf, token=LIMITED) as second:
            await second.connect()
            await second.subscription("room:1").subscribe()
            assert (await soon(room.joined)).info.user == "bob"
            found = await room.subscription.presence()
            assert {each.user for each in found.clients.values()} == {"ada", "bob"}
            stats = await room.subscription.presence_stats()
            assert (stats.num_clients, stats.num_users) == (2, 2)
        assert (await soon(room.left)).info.user == "bob"


async def test_clients_publish_to_each_other(served: Served, is_protobuf: bool) -> None:
    async with (
        watching(served, is_protobuf=is_protobuf) as sender,
        watching(served, is_protobuf=not is_protobuf, token=LIMITED) as receiver,
    ):
        await sender.connect()
        await receiver.connect()
        room = receiver.subscription("room:1")
        await room.subscribe()
        await sender.client.publish("room:1", sender.data({"text": "hello"}))
        found = await soon(room.publications)
        assert receiver.read(found.data) == {"text": "hello"}
        assert found.info.user == "ada"
        with pytest.raises(ReplyError) as refused:
            await receiver.client.publish("room:1", receiver.data(1))
        assert refused.value.code == 103


async def test_a_channel_beyond_the_token_is_refused(served: Served, is_protobuf: bool) -> None:
    async with watching(served, is_protobuf=is_protobuf, token=LIMITED) as watched:
        await watched.connect()
        events = watched.subscription("events")
        await events.subscription.subscribe()
        assert (await soon(events.unsubscribed)).code == 103


async def test_an_unknown_method_is_an_error(served: Served, is_protobuf: bool) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        with pytest.raises(ReplyError) as refused:
            await watched.client.rpc("nothing", watched.data({}))
        assert refused.value.code == 104


async def test_pings_keep_a_client_and_their_loss_ends_it(
    served: Served, is_protobuf: bool
) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        original = watched.client._handle_ping
        answered: asyncio.Queue[int] = asyncio.Queue()

        async def counting() -> None:
            await original()
            answered.put_nowait(1)

        watched.client._handle_ping = counting
        await soon(answered)
        await soon(answered)
        assert watched.connecting.qsize() == 1

        async def silent() -> None:
            watched.client._restart_ping_wait()

        watched.client._handle_ping = silent
        await soon(watched.connecting)
        assert (await soon(watched.connecting)).code == Disconnect.NO_PONG


async def test_an_explicit_disconnect_and_connect_brings_all_back(
    served: Served, is_protobuf: bool
) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        subscriptions = [watched.subscription(name) for name in ("events", "executions", "room:1")]
        for each in subscriptions:
            await each.subscribe()
        await watched.client.disconnect()
        served.journal.append("in between")
        await watched.connect()
        for each in subscriptions:
            await soon(each.subscribed)
        assert await subscriptions[0].payload() == "in between"


async def test_the_server_subscribes_and_a_restarted_hub_is_resumed(is_protobuf: bool) -> None:
    journal = MemoryJournal()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(journal=journal) as served:
            watched = await stack.enter_async_context(
                watching(served, is_protobuf=is_protobuf, token=SUBSCRIBING)
            )
            await watched.connect()
            begun = [await soon(watched.subscribed) for _ in range(2)]
            assert [each.channel for each in begun] == ["events", "room:1"]
            assert begun[0].stream_position.epoch == EPOCH
            journal.append("one")
            assert await watched.event() == ("events", "one", 1)
            served.publish("room:1", {"payload": "hello"})
            assert await watched.event() == ("room:1", "hello", 1)
        journal.append("while the hub was away")
        async with serving(WebSettings(port=served.port), journal=journal):
            again = await soon(watched.subscribed)
            assert again.channel == "events"
            assert again.was_recovering
            assert again.recovered
            assert not (await soon(watched.subscribed)).recovered  # The room has no journal.
            journal.append("after")
            assert await watched.event() == ("events", "while the hub was away", 2)
            assert await watched.event() == ("events", "after", 3)
            assert watched.publications.empty()
            await watched.client.disconnect()


async def test_the_server_subscribes_and_unsubscribes_a_connected_client(
    served: Served, is_protobuf: bool
) -> None:
    async with watching(served, is_protobuf=is_protobuf) as watched:
        await watched.connect()
        [client] = served.hub.clients_of("ada")
        assert await served.hub.subscribe(client, "events")
        assert (await soon(watched.subscribed)).stream_position.epoch == EPOCH
        served.journal.append("now")
        assert await watched.event() == ("events", "now", 1)
        assert served.hub.unsubscribe(client, "events")
        assert (await soon(watched.unsubscribed)).channel == "events"
        served.journal.append("later")
        assert watched.publications.empty()


async def test_a_rule_of_the_token_hides_events_and_positions(
    served: Served, is_protobuf: bool
) -> None:
    async with watching(served, is_protobuf=is_protobuf, token=RULED) as watched:
        await watched.connect()
        assert not (await soon(watched.subscribed)).recoverable
        served.journal.append("another tenant's", tenant="b")
        served.journal.append("mine", tenant="a")
        assert await watched.event() == ("events", "mine", 0)
        rooms = watched.subscription("room:2")
        assert (await rooms.subscribe()).positioned
