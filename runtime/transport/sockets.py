"""Frames over Unix sockets, between processes of one node.

A socket is ten times faster than a Ray call for a single message, and cheaper for each frame. Each
process listens on one socket. Each direction of a link is a connection of its own, which carries
frames, each after its length.

On Linux the socket has no file (an abstract name), and the server accepts only processes of the
same user. Elsewhere the socket is a file in a folder that only this user can read. In both cases a
peer must show a token that the root has distributed by Ray calls (`connections.py`).

A frame with object references, or without a working socket, goes by the fallback carrier; the
link's frame numbers restore the order.
"""

import asyncio
import contextlib
import logging
import pathlib
import secrets
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from callboard.actors.kernel.inspection.metric_sources import Reading
from callboard.messages.core.errors import FrameError
from callboard.messages.core.limits import Limits
from callboard.messages.ports import FrameCarrier

from .connections import Listener, Refusal, Refusals, open_connection

__all__ = ["SocketAddress", "SocketCarrier", "SocketServer"]

LOGGER: Final = logging.getLogger("callboard.socket")
LENGTH: Final = struct.Struct(">I")
TOKEN_BYTES: Final = 32
CONNECT_TIMEOUT_S: Final = 2.0
WRITE_BUFFER_BYTES: Final = 256 << 10
"""The link waits when more bytes than this wait for the kernel."""


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
        self._folder: str | None = None
        self.connections: set[asyncio.BaseTransport] = set()
        self.token: Final = secrets.token_bytes(TOKEN_BYTES)
        self.refusals: Final = Refusals("this host")
        self._listener: Final = Listener(self._open, self.refusals, self.token)
        self._opening: Final[set[asyncio.Task[None]]] = set()
        self.is_stopped = False

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
            self._listener.start(listener)
        except OSError as error:
            LOGGER.warning("links of this node use Ray calls, without a Unix socket: %s", error)
            listener.close()
            return None
        return SocketAddress(node, name, self.token)

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        self.is_stopped = True
        self._listener.stop()
        for connection in list(self.connections):
            connection.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def reading(self) -> Reading:
        """The refused connections, as a metric source."""
        return self.refusals.reading()

    def _open(self, connection: socket.socket) -> None:
        opening = asyncio.get_running_loop().create_task(self._receive_from(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _receive_from(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Incoming(self), connection
            )
        except OSError:  # It has ended meanwhile.
            connection.close()


class _Incoming(asyncio.Protocol):
    """One connection from a peer that has shown the token: frames."""

    def __init__(self, server: SocketServer) -> None:
        self._server = server
        self._transport: asyncio.BaseTransport | None = None
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection, to close it at the end."""
        self._transport = transport
        self._server.connections.add(transport)
        if self._server.is_stopped:
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
        self._server.refusals.count(Refusal.INVALID, why)
        self._buffer.clear()
        if self._transport is not None:
            self._transport.close()


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
        self._waiting = 0
        """Frames that wait for room."""
        self._given_up = False

    @property
    def is_stream(self) -> bool:
        """True until the connection breaks."""
        return not self._given_up

    def write(self, frame: bytes) -> bool:
        """Hand a frame over without waiting; False when `deliver` must be used."""
        # A frame that waits for room would wait for ever if later frames took all of it.
        return not self._waiting and self._write(frame)

    def _write(self, frame: bytes) -> bool:
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
        self._waiting += 1
        try:
            while self._paused and not self._given_up:
                # All waiting frames share one future.
                if self._room is None or self._room.done():
                    self._room = asyncio.get_running_loop().create_future()
                await asyncio.shield(self._room)
            is_written = self._write(frame)
        finally:
            self._waiting -= 1
        if is_written:
            return b"", ()
        return await self._fallback.deliver(frame, references)

    async def _connect(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._open())
        await asyncio.shield(self._connecting)

    async def _open(self) -> None:
        address = self._address
        try:
            peer = await open_connection(address.name, address.token, CONNECT_TIMEOUT_S)
            transport, _ = await asyncio.get_running_loop().create_unix_connection(
                lambda: self, sock=peer
            )
        except OSError as error:
            LOGGER.warning("Ray calls replace the socket to a host of this node: %s", error)
            self._given_up = True
            return
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
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
