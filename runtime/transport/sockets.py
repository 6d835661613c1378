"""Frames over Unix sockets, between processes of one node.

A socket is ten times faster than a Ray call for a single message, and cheaper for each frame. Each
process listens on one socket. Each direction of a link is a connection of its own, which carries
frames, each after its length.

On Linux the socket has no file (an abstract name), and the server accepts only processes of the
same user. Elsewhere the socket is a file in a folder that only this user can read. In both cases a
peer must show a token that the root has distributed by Ray calls.

A frame with object references, or without a working socket, goes by the fallback carrier; the
link's frame numbers restore the order.
"""

import asyncio
import contextlib
import hmac
import logging
import os
import pathlib
import secrets
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from callboard.messages.core.errors import FrameError
from callboard.messages.core.limits import Limits
from callboard.messages.ports import FrameCarrier

__all__ = ["SocketAddress", "SocketCarrier", "SocketServer"]

LOGGER: Final = logging.getLogger("callboard.socket")
LENGTH: Final = struct.Struct(">I")
TOKEN_BYTES: Final = 32
CONNECT_TIMEOUT_S: Final = 2.0
WRITE_BUFFER_BYTES: Final = 256 << 10
"""The link waits when more bytes than this wait for the kernel."""
PEER_CREDENTIALS: Final = struct.Struct("3i")


class SocketAddress(NamedTuple):
    """The node and the socket of a process, and its token."""

    node: str
    name: str
    token: bytes


class SocketServer:
    """Accepts connections and hands each frame to `receive`."""

    def __init__(self, receive: Callable[[bytes], object], limits: Limits) -> None:
        self.receive: Final = receive
        self.limits: Final = limits
        self._server: asyncio.AbstractServer | None = None
        self._folder: str | None = None
        self.connections: set[asyncio.BaseTransport] = set()
        self.token: Final = secrets.token_bytes(TOKEN_BYTES)

    async def start(self, node: str) -> SocketAddress | None:
        """Listen and return the address; None without Unix sockets, so that links use Ray calls."""
        if not hasattr(socket, "AF_UNIX"):
            return None
        if sys.platform == "linux":
            name = f"\0callboard-{secrets.token_hex(12)}"
        else:
            self._folder = tempfile.mkdtemp(prefix="callboard-")
            name = str(pathlib.Path(self._folder) / "host")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(name)
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: _Incoming(self), sock=listener
            )
        except OSError as error:
            LOGGER.warning("links of this node use Ray calls, without a Unix socket: %s", error)
            listener.close()
            return None
        return SocketAddress(node, name, self.token)

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Incoming(asyncio.Protocol):
    """One connection from a peer: the token, then frames."""

    def __init__(self, server: SocketServer) -> None:
        self._server = server
        self._transport: asyncio.BaseTransport | None = None
        self._buffer = bytearray()
        self._trusted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept this user's processes only."""
        self._transport = transport
        self._server.connections.add(transport)
        if not _same_user(transport):
            LOGGER.warning("the connection of another user's process was refused")
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; the link repeats an incomplete frame."""
        if self._transport is not None:
            self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Cut the stream into frames."""
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        if not self._trusted:
            if end < TOKEN_BYTES:
                return
            if not hmac.compare_digest(bytes(buffer[:TOKEN_BYTES]), self._server.token):
                self._refuse("its token is wrong")
                return
            self._trusted = True
            start = TOKEN_BYTES
        while end - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer, start)
            if length > self._server.limits.frame_bytes_max:
                self._refuse(f"it announced a frame of {length} bytes")
                return
            frame_end = start + LENGTH.size + length
            if end < frame_end:
                break
            frame = bytes(memoryview(buffer)[start + LENGTH.size : frame_end])
            start = frame_end
            try:
                self._server.receive(frame)
            except FrameError as error:
                self._refuse(str(error))
                return
        del buffer[:start]

    def _refuse(self, why: str) -> None:
        LOGGER.warning("a connection was closed: %s", why)
        self._buffer.clear()
        if self._transport is not None:
            self._transport.close()


def _same_user(transport: asyncio.BaseTransport) -> bool:
    if sys.platform != "linux":
        return True  # The folder's permissions protect the socket.
    peer = transport.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
    _, user, _ = PEER_CREDENTIALS.unpack(raw)
    return bool(user == os.getuid())


class SocketCarrier(asyncio.Protocol):
    """Carries a link's frames to a process of the same node.

    A connection carries frames in one direction: the frames of the peer come by its own.
    """

    def __init__(self, address: SocketAddress, fallback: FrameCarrier) -> None:
        self._address = address
        self._fallback = fallback
        self._transport: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._paused = False
        self._given_up = False

    @property
    def is_stream(self) -> bool:
        """True until the connection breaks."""
        return not self._given_up

    def write(self, frame: bytes) -> bool:
        """Hand a frame over without waiting; False when `deliver` must be used."""
        if self._transport is None or self._paused:
            return False
        self._transport.writelines((LENGTH.pack(len(frame)), frame))
        return True

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Hand a frame over; see `FrameCarrier`."""
        if references or self._given_up:
            return await self._fallback.deliver(frame, references)
        if self._transport is None:
            await self._connect()
        while self._paused and not self._given_up:
            # All waiting frames share one future.
            if self._room is None or self._room.done():
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)
        if self.write(frame):
            return b"", ()
        return await self._fallback.deliver(frame, references)

    async def _connect(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._open())
        await asyncio.shield(self._connecting)

    async def _open(self) -> None:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                # A Unix socket connects at once, or fails.
                peer.connect(self._address.name)
                transport, _ = await asyncio.get_running_loop().create_unix_connection(
                    lambda: self, sock=peer
                )
        except (OSError, TimeoutError) as error:
            LOGGER.warning("Ray calls replace the socket to a host of this node: %s", error)
            peer.close()
            self._given_up = True
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        transport.write(self._address.token)
        self._transport = transport
        self._connecting = None

    def pause_writing(self) -> None:
        """Pause: the kernel's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Resume: the buffer has room."""
        self._paused = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Use the fallback from now on: the peer is dead or has refused the connection."""
        self._transport = None
        self._given_up = True
        self._wake()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.close()

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
