"""Frames over Unix sockets: delivery, access, and edge cases."""

import asyncio
import secrets
import socket
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from callboard.messages.core.errors import FrameError
from callboard.messages.core.limits import Limits
from callboard.runtime.transport.sockets import SocketAddress, SocketServer
from callboard.runtime.transport.stream_carrier import StreamCarrier, UnixWay

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
DEADLINE_S = 10.0


class Fallback:
    """The fallback carrier: keeps the frames that it gets."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    is_stream = False

    def write(self, frame: bytes) -> bool:
        return False

    def close(self) -> None:
        pass

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        self.frames.append(frame)
        return b"by the other way", ()


class Inbox:
    """Takes frames, and lets a test wait for a number of them."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self._changed = asyncio.Event()

    def take(self, frame: bytes) -> None:
        if frame == b"not a frame":
            raise FrameError("as it says")
        self.frames.append(frame)
        self._changed.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.frames) < count:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def listening(limits: Limits | None = None) -> AsyncIterator[tuple[Inbox, SocketAddress]]:
    """A server, its inbox and its address."""
    inbox = Inbox()
    server = SocketServer(inbox.take, limits or Limits())
    address = await server.start("node")
    assert address is not None
    try:
        yield inbox, address
    finally:
        await server.stop()


async def closed_by_peer(connection: socket.socket) -> bool:
    """Whether the other side closes the connection (instead of going on)."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await loop.sock_recv(connection, 1) == b""
        except ConnectionError:
            return True


def connect(address: SocketAddress) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(address.name)
    return connection


async def test_frames_arrive_whole_and_in_order_whatever_their_size() -> None:
    sizes = [0, 1, 3, 1_000, 70_000, 300_000, 5_000_000, 2]
    sent = [secrets.token_bytes(size) for size in sizes]
    async with listening() as (inbox, address):
        carrier = StreamCarrier(UnixWay(address), Fallback())
        for frame in sent:
            assert await carrier.deliver(frame, ()) == (b"", ())
        await inbox.wait_for(len(sent))
        assert inbox.frames == sent
        carrier.close()


async def test_write_hands_over_at_once_when_connected_and_refuses_before() -> None:
    async with listening() as (inbox, address):
        carrier = StreamCarrier(UnixWay(address), Fallback())
        assert not carrier.write(b"too early")
        await carrier.deliver(b"first", ())
        assert carrier.write(b"second")
        await inbox.wait_for(2)
        assert inbox.frames == [b"first", b"second"]
        carrier.close()


async def test_a_frame_with_references_goes_by_the_other_carrier() -> None:
    async with listening() as (inbox, address):
        fallback = Fallback()
        carrier = StreamCarrier(UnixWay(address), fallback)
        answer = await carrier.deliver(b"with references", [object()])
        assert answer == (b"by the other way", ())
        assert fallback.frames == [b"with references"]
        assert inbox.frames == []


async def test_a_socket_that_is_not_there_falls_back_for_good() -> None:
    fallback = Fallback()
    gone = SocketAddress("node", "\0callboard-nobody-listens-here", b"x" * 32)
    carrier = StreamCarrier(UnixWay(gone), fallback)
    await carrier.deliver(b"one", ())
    await carrier.deliver(b"two", ())
    assert not carrier.write(b"three")
    assert fallback.frames == [b"one", b"two"]


async def test_a_server_that_stops_sends_later_frames_the_other_way() -> None:
    fallback = Fallback()
    async with listening() as (inbox, address):
        carrier = StreamCarrier(UnixWay(address), fallback)
        await carrier.deliver(b"one", ())
        await inbox.wait_for(1)
    async with asyncio.timeout(DEADLINE_S):
        while carrier.write(b"lost in the closing socket"):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        await carrier.deliver(b"two", ())
    assert fallback.frames == [b"two"]


async def test_a_slow_reader_makes_deliver_wait_and_not_memory_grow() -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    name = f"\0callboard-slow-{secrets.token_hex(8)}" if sys.platform == "linux" else None
    if name is None:
        pytest.skip("needs abstract socket names")
    listener.bind(name)
    listener.listen()
    carrier = StreamCarrier(UnixWay(SocketAddress("node", name, b"x" * 32)), Fallback())
    written = 0

    async def write_for_ever() -> None:
        nonlocal written
        while True:
            await carrier.deliver(b"\0" * 1_000_000, ())
            written += 1

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(write_for_ever(), 1.0)
    # Its buffer, the kernel's, and the frame that crossed the mark.
    assert written < 16
    carrier.close()
    listener.close()


async def test_a_wrong_token_is_refused() -> None:
    async with listening() as (inbox, address):
        connection = connect(address)
        connection.sendall(b"w" * 32 + struct.pack(">I", 5) + b"frame")
        assert await closed_by_peer(connection)
        assert inbox.frames == []
        connection.close()


async def test_a_token_that_comes_in_pieces_is_taken() -> None:
    async with listening() as (inbox, address):
        connection = connect(address)
        for byte in address.token:
            connection.sendall(bytes([byte]))
            await asyncio.sleep(0)
        connection.sendall(struct.pack(">I", 5) + b"frame")
        await inbox.wait_for(1)
        assert inbox.frames == [b"frame"]
        connection.close()


async def test_an_oversized_length_closes_the_connection_unread() -> None:
    async with listening(Limits(frame_bytes_max=1_000)) as (inbox, address):
        connection = connect(address)
        connection.sendall(address.token + struct.pack(">I", 1_001))
        assert await closed_by_peer(connection)
        assert inbox.frames == []
        connection.close()


async def test_bytes_that_are_no_frame_close_that_connection_only() -> None:
    async with listening() as (inbox, address):
        connection = connect(address)
        bad = b"not a frame"
        connection.sendall(address.token + struct.pack(">I", len(bad)) + bad)
        assert await closed_by_peer(connection)
        carrier = StreamCarrier(UnixWay(address), Fallback())
        await carrier.deliver(b"another peer goes on", ())
        await inbox.wait_for(1)
        connection.close()
        carrier.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no abstract names")
async def test_the_socket_has_no_file_that_could_be_left() -> None:
    async with listening() as (_, address):
        assert address.name.startswith("\0")
