"""What a hostile client sends ends its own connection, and costs nobody else anything."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets

from callboard.actors.streaming.limits import HubLimits
from callboard.actors.streaming.protocol import Disconnect
from callboard.runtime.web.codecs.schema import encode_varint
from callboard.runtime.web.settings import WebLimits, WebSettings
from tests.runtime.web.edge import GOOD, LIMITED, Served, serving
from tests.runtime.web.raw import RawSocket, ask, exchange, request_bytes

LIMITS = WebLimits()
HASTY = WebLimits(head_timeout_s=0.3, stalled_s=0.5, unknown_max=8, unknown_s=0.5)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as found:
        yield found


@pytest.fixture
async def hasty() -> AsyncIterator[Served]:
    """A server with little patience: a loaded machine does not let others meet its limits."""
    limits = HubLimits(connect_s=0.3, queue_age_max_s=60.0)
    async with serving(WebSettings(limits=HASTY), limits=limits) as found:
        yield found


async def still_serves(served: Served) -> None:
    """Another client is served as if nothing had happened."""
    assert (await ask(served.port)).status == 200
    socket = await RawSocket.open(served.port)
    assert "connect" in await socket.connect(GOOD)
    socket.send_json({"id": 2, "subscribe": {"channel": "events"}})
    assert "subscribe" in (await socket.replies())[0]
    number = served.journal.append("after an attack")
    [push] = await socket.replies()
    assert push["push"]["pub"]["offset"] == number
    socket.abort()


# --- commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[" * 60_000,
        '{"id":2,"rpc":{"data":' + "[" * 1_000 + "]" * 1_000 + "}}",
        '{"id":2,"rpc":{"data":NaN}}',
        '{"id":2,"rpc":{"data":' + "9" * 10_000 + "}}",
        '{"id":2,"subscribe":{"channel":"\\ud800"}}',
        '{"id":0,"subscribe":{"channel":"events"}}',
        '{"id":-1,"subscribe":{"channel":"events"}}',
        '{"id":2,"subscribe":{}}',
        '{"id":2,"nothing":{}}',
        '{"id":2,"connect":{}}',
        "{}",
        b"{}",
    ],
    ids=lambda frame: repr(frame)[:40],
)
async def test_a_wrong_command_ends_its_connection(served: Served, frame: Any) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(GOOD)
    socket.send(frame)
    code, reason = await socket.closed()
    assert code == Disconnect.BAD_REQUEST
    assert 0 < len(reason) < 124
    await still_serves(served)


@pytest.mark.parametrize(
    "first", ['{"id":1,"subscribe":{"channel":"events"}}', '{"id":1,"rpc":{"method":"a"}}', "{}"]
)
async def test_a_command_before_connect_ends_the_connection(served: Served, first: str) -> None:
    socket = await RawSocket.open(served.port)
    socket.send(first)
    assert (await socket.closed())[0] == Disconnect.BAD_REQUEST


async def test_nothing_after_a_refused_connect_is_processed(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    socket.send_json(
        {"id": 1, "connect": {"token": "x"}}, {"id": 2, "subscribe": {"channel": "events"}}
    )
    await socket.closed()
    assert not served.hub.core.connections


async def test_unknown_fields_and_repeated_numbers_are_harmless(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(GOOD)
    for _ in range(2):
        socket.send_json({"id": 2, "presence": {"channel": "events", "x": [1]}, "y": 1})
        assert (await socket.replies())[0]["id"] == 2
    socket.abort()


async def test_bytes_that_are_no_text_end_the_connection(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    socket.send(b"\xff\xfe", opcode=1)
    assert (await socket.closed())[0] == 1007
    await still_serves(served)


@pytest.mark.parametrize("frame", [b"\xff" * 100, b"\x7f", bytes(300), b""])
async def test_wrong_protobuf_ends_its_connection(served: Served, frame: bytes) -> None:
    protocol = {"Sec-WebSocket-Protocol": "centrifuge-protobuf"}
    socket = await RawSocket.open(served.port, headers=protocol)
    body = b"\x08\x01\x22" + encode_varint(len(GOOD) + 2) + b"\x0a" + bytes([len(GOOD)])
    socket.send(encode_varint(len(body) + len(GOOD)) + body + GOOD.encode())
    opcode, _ = await socket.frame()
    assert opcode == 2
    socket.send(frame)
    assert (await socket.closed())[0] == Disconnect.BAD_REQUEST


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"GET /healthz HTTP/1.1\r\nHost: 127", b"GET /healthz HTTP/1.1\r\n"]
)
async def test_a_silent_connection_ends(hasty: Served, data: bytes) -> None:
    async with asyncio.timeout(5):
        assert await exchange(hasty.port, data) == b""


async def test_half_a_second_head_ends_too(hasty: Served) -> None:
    first = request_bytes("GET", "/healthz", [("Host", f"127.0.0.1:{hasty.port}")])
    async with asyncio.timeout(5):
        data = await exchange(hasty.port, first + b"GET /healthz HTT")
    assert data.count(b"HTTP/1.1 200") == 1


async def test_an_upgraded_connection_outlives_the_time_for_heads(hasty: Served) -> None:
    socket = await RawSocket.open(hasty.port)
    await socket.connect(GOOD)
    loop = asyncio.get_running_loop()
    later = loop.create_future()
    loop.call_later(2 * HASTY.head_timeout_s, later.set_result, None)
    await later
    socket.send_json({"id": 2, "presence": {"channel": "events"}})
    assert (await socket.replies())[0]["id"] == 2
    socket.abort()


async def test_a_socket_that_does_not_say_who_it_is_ends(hasty: Served) -> None:
    socket = await RawSocket.open(hasty.port)
    assert (await socket.closed())[0] == Disconnect.STALE
    plain = await RawSocket.open(hasty.port, "/stream")
    assert await plain.closed() == (1008, "Authentication failed")


async def test_silent_sockets_are_few_and_delay_others_only(hasty: Served) -> None:
    silent = [asyncio.create_task(RawSocket.open(hasty.port)) for _ in range(4 * HASTY.unknown_max)]
    opened = await asyncio.wait_for(asyncio.gather(*silent), 15)
    for socket in opened:
        code, _ = await socket.closed()
        assert code in {Disconnect.STALE, Disconnect.TOO_MANY_REQUESTS}


async def test_a_storm_of_clients_is_served_in_turn(served: Served) -> None:
    async def client() -> None:
        socket = await RawSocket.open(served.port)
        assert "connect" in await socket.connect(GOOD)
        socket.abort()

    async with asyncio.timeout(30):
        await asyncio.gather(*(client() for _ in range(3 * LIMITS.unknown_max)))
    assert not served.server.refusals


async def test_a_large_first_message_ends_the_connection(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    socket.send_json({"id": 1, "connect": {"token": "a" * 5_000}})
    assert (await socket.closed())[0] == Disconnect.BAD_REQUEST


async def test_a_reader_that_stops_is_cut_off(hasty: Served) -> None:
    """Its kernel takes some megabytes; then its time begins."""
    socket = await RawSocket.open(hasty.port)
    await socket.connect(GOOD)
    socket.send_json({"id": 2, "subscribe": {"channel": "room:1"}})
    await socket.replies()
    socket.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        while hasty.hub.core.connections:
            hasty.publish("room:1", "x" * 60_000)
            await asyncio.sleep(0)
    socket.abort()


async def test_a_peer_that_does_not_answer_a_close_is_cut_off(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    socket.send("{")
    assert (await socket.frame())[0] == 8
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            assert await socket.reader.read() == b""
    socket.abort()


# --- frames --------------------------------------------------------------------------------------


async def test_a_frame_over_the_limit_is_refused_unread(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(GOOD)
    socket.writer.write(struct.pack("!BBQ", 0x81, 0xFF, 1 << 40) + bytes(4))
    assert (await socket.closed())[0] == 1009
    await still_serves(served)


async def test_endless_parts_of_a_message_end_the_connection(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(GOOD)
    socket.send("a", fin=False)
    for _ in range(70):
        socket.send(b"a" * 1_000, opcode=0, fin=False)
    assert (await socket.closed())[0] == 1009


@pytest.mark.parametrize("opcode", [0, 9, 10], ids=["empty parts", "pings", "pongs"])
async def test_a_flood_of_frames_that_cost_the_sender_nothing_ends(
    served: Served, opcode: int
) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(GOOD)
    if opcode == 0:
        socket.send("a", fin=False)
    for _ in range(3 * LIMITS.control_frames_per_s):
        socket.send(b"", opcode=opcode, fin=opcode != 0)
    assert (await socket.closed())[0] == Disconnect.TOO_MANY_REQUESTS
    await still_serves(served)


async def test_one_byte_at_a_time_is_a_message_in_the_end(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    text = json.dumps({"id": 1, "connect": {"token": GOOD}}).encode()
    socket.send(text[:1], opcode=1, fin=False)
    for index in range(1, len(text)):
        socket.send(text[index : index + 1], opcode=0, fin=index == len(text) - 1)
        await socket.writer.drain()
    assert "connect" in (await socket.replies())[0]
    socket.abort()


async def test_compression_is_not_agreed_so_there_is_no_bomb(served: Served) -> None:
    async with websockets.connect(served.socket_url, compression="deflate") as socket:
        assert socket.protocol.extensions == []


# --- subscriptions -------------------------------------------------------------------------------


async def test_a_flood_of_commands_is_refused_and_then_ends(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(GOOD)
    codes: list[int | None] = []
    for number in range(2, 342):
        command = "subscribe" if number % 2 else "unsubscribe"
        socket.send_json({"id": number, command: {"channel": "room:1"}})
    while len(codes) < 340:
        codes += [reply.get("error", {}).get("code") for reply in await socket.replies()]
    assert codes.count(None) >= 299
    assert {None, 111} <= set(codes) <= {None, 105, 111}
    for number in range(342, 700):
        socket.send_json({"id": number, "subscribe": {"channel": "room:1"}})
    assert (await socket.closed())[0] == Disconnect.TOO_MANY_REQUESTS
    await still_serves(served)


async def test_one_channel_too_many_and_a_name_too_long_are_refused(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(GOOD)
    codes = []
    for number in range(2, 2 + 129):
        socket.send_json({"id": number, "subscribe": {"channel": f"room:{number}"}})
        codes += [reply.get("error", {}).get("code") for reply in await socket.replies()]
    assert codes == [None] * 128 + [106]
    socket.send_json({"id": 500, "unsubscribe": {"channel": "room:2"}})
    await socket.replies()
    socket.send_json({"id": 501, "subscribe": {"channel": "é" * 128}})
    assert (await socket.replies())[0]["error"]["code"] == 107
    socket.abort()


async def test_a_huge_filter_is_refused_and_the_client_goes_on(served: Served) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(GOOD)
    nodes = [{"key": "a", "cmp": "ex"}] * 2_000
    condition = {"op": "or", "nodes": nodes}
    socket.send_json({"id": 2, "subscribe": {"channel": "events", "tf": condition}})
    assert (await socket.replies())[0]["error"]["code"] == 107
    socket.send_json({"id": 3, "subscribe": {"channel": "events"}})
    assert "subscribe" in (await socket.replies())[0]
    socket.abort()


@pytest.mark.parametrize(
    "channel", ["events", "*", "room:*/../events", "\uff45vents", "EVENTS", "room"]
)
async def test_no_name_reaches_beyond_the_token(served: Served, channel: str) -> None:
    socket = await RawSocket.open(served.port)
    await socket.connect(LIMITED)
    socket.send_json({"id": 2, "subscribe": {"channel": channel}})
    [reply] = await socket.replies()
    served.journal.append("not for all")
    assert channel.startswith("room:") or reply["error"]["code"] in {102, 103, 107}
    for command in ("presence", "presence_stats", "history"):
        socket.send_json({"id": 3, command: {"channel": "events"}})
        assert (await socket.replies())[0]["error"]["code"] == 103
    socket.abort()


# --- readers that stall --------------------------------------------------------------------------


async def test_a_stalled_reader_of_a_journal_is_warned_and_then_gets_everything() -> None:
    async with serving(limits=HubLimits(queue_age_max_s=0.3)) as served:
        socket = await RawSocket.open(served.port)
        await socket.connect(GOOD)
        socket.send_json({"id": 2, "subscribe": {"channel": "events"}})
        [reply] = await socket.replies()
        epoch = reply["subscribe"]["epoch"]
        socket.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(30):
            while served.hub.core.connections:
                served.journal.append("x" * 50_000)
                await asyncio.sleep(0)
        socket.writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen = []
        while (frame := await socket.frame())[0] == 1:
            found = map(json.loads, frame[1].split(b"\n"))
            seen += [each["push"]["pub"]["offset"] for each in found]
        assert struct.unpack("!H", frame[1][:2]) == (Disconnect.SLOW,)
        socket.abort()
        total = len(served.journal.log)
        assert 0 < len(seen) < total
        socket = await RawSocket.open(served.port)
        await socket.connect(GOOD)
        resume = {"channel": "events", "recover": True, "offset": seen[-1], "epoch": epoch}
        socket.send_json({"id": 2, "subscribe": resume})
        while len(seen) < total:
            for reply in await socket.replies():
                if "subscribe" in reply:
                    assert reply["subscribe"]["recovered"]
                    seen += [each["offset"] for each in reply["subscribe"].get("publications", ())]
                else:
                    seen.append(reply["push"]["pub"]["offset"])
        assert seen == list(range(1, total + 1))
        socket.abort()


async def test_old_sockets_that_the_server_still_believes_in_change_nothing(
    served: Served,
) -> None:
    seen, sockets, epoch = 0, [], ""
    for _ in range(4):
        socket = await RawSocket.open(served.port)
        await socket.connect(GOOD)
        recovery = {"recover": True, "offset": seen, "epoch": epoch} if epoch else {}
        socket.send_json({"id": 2, "subscribe": {"channel": "events", **recovery}})
        [reply] = await socket.replies()
        epoch = reply["subscribe"]["epoch"]
        assert not recovery or reply["subscribe"]["recovered"]
        served.journal.append("next")
        [push] = await socket.replies()
        assert push["push"]["pub"]["offset"] == seen + 1
        seen += 1
        sockets.append(socket)
    for old in sockets[:-1]:
        old.abort()
    served.journal.append("last")
    [push] = await sockets[-1].replies()
    assert push["push"]["pub"]["offset"] == seen + 1
    sockets[-1].abort()


@pytest.mark.parametrize("path", ["/connection/websocket", "/stream"])
@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("no\r\nSet-Cookie: a=b", "no Set-Cookie: a=b"),
        ("x" * 200, "x" * 123),
        ("é" * 100, "é" * 61),
        ("\ud800" * 50, "?" * 50),
    ],
    ids=["two lines", "too long", "cut within a character", "no text"],
)
async def test_13_a_reason_of_a_close_is_one_line_of_at_most_123_bytes(
    served: Served, path: str, reason: str, said: str
) -> None:
    socket = await RawSocket.open(served.port, path)
    [session] = served.hub._sessions.values()
    session.refuse(Disconnect.FORCE_RECONNECT, reason)
    assert await socket.closed() == (Disconnect.FORCE_RECONNECT, said)


# --- what stays ----------------------------------------------------------------------------------


async def test_clients_that_come_and_go_leave_nothing(served: Served) -> None:
    for _ in range(20):
        sockets = await asyncio.gather(*(RawSocket.open(served.port) for _ in range(8)))
        for socket in sockets:
            await socket.connect(GOOD)
            socket.abort()
    async with asyncio.timeout(10):
        while served.hub.core.connections or served.server._streams._open:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert not served.server._streams._unknown._addresses
