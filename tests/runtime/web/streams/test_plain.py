"""The plain JSON of the data-flow document, over a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from callboard.actors.streaming.protocol import Disconnect, Dropped, Publication
from callboard.messages.control.principals import Principal
from callboard.messages.core.errors import StoreFailed
from callboard.runtime.web.codecs.plain import PlainJson
from callboard.runtime.web.settings import WebSettings
from tests.runtime.web.edge import EPOCH, GOOD, LIMITED, RULED, SUBSCRIBING, Served, serving

BEARER = {"Authorization": f"Bearer {GOOD}"}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


async def said(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        found: dict[str, Any] = json.loads(await socket.recv())
    return found


async def say(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


async def test_a_token_in_the_header_establishes_the_connection(served: Served) -> None:
    async with websockets.connect(served.plain_url, additional_headers=BEARER) as socket:
        first = await said(socket)
        assert first["type"] == "connection_established"
        assert first["clientId"] in served.hub.core.connections
        assert first["timestamp"] > 1e9


async def test_a_token_in_the_first_message_does_so_too(served: Served) -> None:
    async with websockets.connect(served.plain_url) as socket:
        await say(socket, "authenticate", token=GOOD)
        assert (await said(socket))["type"] == "connection_established"


@pytest.mark.parametrize("way", ["header", "message", "none", "basic"])
async def test_who_does_not_count_is_closed_as_the_document_says(served: Served, way: str) -> None:
    header = {"header": {"Authorization": "Bearer x"}, "basic": {"Authorization": "Basic eA=="}}
    async with websockets.connect(served.plain_url, additional_headers=header.get(way)) as socket:
        if way == "message":
            await say(socket, "authenticate", token="x")
        if way == "none":
            [session] = served.hub._sessions.values()
            session.refuse(Disconnect.STALE, "not authenticated in time")
        with pytest.raises(ConnectionClosed) as closed:
            await said(socket)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
            1008,
            "Authentication failed",
        )


async def test_a_fault_of_the_server_closes_as_the_document_says(served: Served) -> None:
    async with websockets.connect(served.plain_url, additional_headers=BEARER) as socket:
        await said(socket)
        [session] = served.hub._sessions.values()
        session.refuse(Disconnect.INTERNAL, "internal error")
        with pytest.raises(ConnectionClosed) as closed:
            await said(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011


async def test_a_registry_that_does_not_answer_is_a_fault_and_no_refusal(served: Served) -> None:
    async def authenticate(token: str, remote: str) -> Principal:
        raise StoreFailed("the registry is away.")

    served.tokens.authenticate = authenticate  # type: ignore[method-assign]
    for url, code in ((served.plain_url, 1011), (served.socket_url, Disconnect.INTERNAL)):
        async with websockets.connect(url, additional_headers=BEARER) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await said(socket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code


async def test_events_come_filtered_and_from_a_position(served: Served) -> None:
    for number in range(4):
        served.journal.append(number, level="error" if number % 2 else "info")
    async with websockets.connect(served.plain_url, additional_headers=BEARER) as socket:
        await said(socket)
        await asyncio.sleep(0)
        condition = {"key": "level", "cmp": "eq", "val": "error"}
        await say(
            socket, "subscribe", subscriptionId="s1", filters=[condition], after=f"{EPOCH}:1", id=7
        )
        begun = await said(socket)
        assert begun["type"] == "subscribed"
        assert (begun["id"], begun["subscriptionId"], begun["recovered"]) == (7, "s1", True)
        first, second = await said(socket), await said(socket)
        served.journal.append(4, level="info")
        served.journal.append(5, level="error")
        third = await said(socket)
        assert [each["event"]["payload"] for each in (first, second, third)] == [1, 3, 5]
        assert third["position"] == f"{EPOCH}:6"
        assert third["subscriptionId"] == "s1"
        await say(socket, "unsubscribe", subscriptionId="s1")
        assert (await said(socket))["type"] == "unsubscribed"


async def test_a_rate_limit_counts_and_tells(served: Served) -> None:
    async with websockets.connect(served.plain_url, additional_headers=BEARER) as socket:
        await said(socket)
        limit = {"perSecond": 0.5, "burst": 2}
        await say(socket, "subscribe", subscriptionId="s", channel="room:1", rateLimit=limit)
        await said(socket)
        for number in range(10):
            served.publish("room:1", {"payload": number})
        found = [await said(socket) for _ in range(3)]
        assert [each["type"] for each in found] == ["stream_event", "stream_event", "dropped"]
        assert found[2]["count"] > 0
        assert found[2]["subscriptionId"] == "s"


async def test_a_channel_beyond_the_token_is_an_error(served: Served) -> None:
    header = {"Authorization": f"Bearer {LIMITED}"}
    async with websockets.connect(served.plain_url, additional_headers=header) as socket:
        await said(socket)
        await say(socket, "subscribe", subscriptionId="s")
        refused = await said(socket)
        assert (refused["type"], refused["code"], refused["subscriptionId"]) == ("error", 103, "s")
        await say(socket, "subscribe", subscriptionId="s", channel="room:1")
        assert (await said(socket))["type"] == "subscribed"


async def test_without_tokens_this_machine_is_known_at_once() -> None:
    async with (
        serving(WebSettings(needs_token=False)) as served,
        websockets.connect(served.plain_url) as socket,
    ):
        assert (await said(socket))["type"] == "connection_established"


async def test_what_is_no_message_ends_the_connection(served: Served) -> None:
    async with websockets.connect(served.plain_url, additional_headers=BEARER) as socket:
        await said(socket)
        await socket.send('{"type":"dance"}')
        with pytest.raises(ConnectionClosed) as closed:
            await said(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == Disconnect.BAD_REQUEST


def test_a_dropped_notice_has_the_names_of_the_document() -> None:
    codec = PlainJson()
    codec.decode(b'{"type":"subscribe","subscriptionId":"s","channel":"a"}')
    notice = json.loads(codec.push(Dropped("a", 3, "slow", 4, 9)))
    assert notice == {
        "type": "dropped",
        "subscriptionId": "s",
        "count": 3,
        "from": 4,
        "to": 9,
        "reason": "slow",
    }
    event = codec.push(Publication("a", b'{\n"x":1}'))
    assert b"\n" not in event


async def test_a_token_subscribes_and_the_first_message_says_where_the_client_was(
    served: Served,
) -> None:
    served.journal.append("one")
    served.journal.append("two")
    async with websockets.connect(served.plain_url) as socket:
        await say(socket, "authenticate", token=SUBSCRIBING, after={"events": f"{EPOCH}:1"})
        assert (await said(socket))["type"] == "connection_established"
        begun = await said(socket)
        assert (begun["subscriptionId"], begun["byServer"], begun["recovered"]) == (
            "events",
            True,
            True,
        )
        assert (await said(socket))["position"] == f"{EPOCH}:2"
        assert (await said(socket))["subscriptionId"] == "room:1"
        served.publish("room:1", {"payload": "hello"})
        assert (await said(socket))["event"] == {"payload": "hello"}
        await say(socket, "unsubscribe", subscriptionId="room:1")
        assert (await said(socket))["type"] == "unsubscribed"


@pytest.mark.parametrize("after", [5, "x", {"events": 5}, {"events": "x"}, {"events": "a:-1"}])
async def test_wrong_positions_end_the_connection(served: Served, after: Any) -> None:
    async with websockets.connect(served.plain_url) as socket:
        await say(socket, "authenticate", token=SUBSCRIBING, after=after)
        with pytest.raises(ConnectionClosed):
            await said(socket)


async def test_a_rule_of_the_token_hides_events_and_positions(served: Served) -> None:
    headers = {"Authorization": f"Bearer {RULED}"}
    async with websockets.connect(served.plain_url, additional_headers=headers) as socket:
        await said(socket)
        assert "position" not in await said(socket)
        served.journal.append("another tenant's", tenant="b")
        served.journal.append("mine", tenant="a")
        found = await said(socket)
        assert found["event"]["payload"] == "mine"
        assert "position" not in found
