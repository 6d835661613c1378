"""The sockets of one process for frames: a Unix socket for its own node, a port for others.

A socket is ten times faster than a Ray call for a single message, and cheaper for each frame. Each
direction of a link is a connection of its own, which carries frames, each after its length.

On Linux the Unix socket has no file (an abstract name), and the server accepts only processes of
the same user. Elsewhere the socket is a file in a folder that only this user can read. In both
cases a peer must show a token that the root has distributed by Ray calls. The port is opened when
the first process of another node asks for it, by a Ray call that brings it the token; over TCP both
sides prove that they know the token, without showing it (`handshake.py`). Where Ray uses TLS, TLS
begins after that, so that a stranger does not reach it.

`stream_carrier.py` has the other ends of these connections.
"""

import asyncio
import contextlib
import logging
import pathlib
import secrets
import shutil
import socket
import ssl
import struct
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from callboard.actors.kernel.inspection.metric_sources import Reading
from callboard.messages.core.errors import FrameError
from callboard.messages.core.limits import Limits

from .connections import Listener, Refusal, Refusals
from .handshake import NUMBER_BYTES, Challenge, ShownToken
from .tcp import TcpAddress, Tls, bind, tune

__all__ = ["LENGTH", "SocketAddress", "SocketServer"]

LOGGER: Final = logging.getLogger("callboard.socket")
LENGTH: Final = struct.Struct(">I")
TOKEN_BYTES: Final = 32
TLS_TIMEOUT_S: Final = 5.0


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
        self._listeners: Final[list[Listener]] = []
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
            self._listen(listener, Listener(self._open, self.refusals, self._shown))
        except OSError as error:
            LOGGER.warning("links of this node use Ray calls, without a Unix socket: %s", error)
            listener.close()
            return None
        return SocketAddress(node, name, self.token)

    def open_port(self, host: str, ports: range, tls: Tls | None) -> TcpAddress:
        """Listen for other nodes, at this address of this one. Raises `OSError`."""
        bound = bind(host, ports)
        context = None if tls is None else tls.listener
        accepted = partial(self._open_tcp, tls=context)
        self._listen(bound, Listener(accepted, self.refusals, self._new))
        return TcpAddress(host, bound.getsockname()[1], self.token, context is not None)

    def _listen(self, bound: socket.socket, listener: Listener) -> None:
        listener.start(bound)
        self._listeners.append(listener)

    def _shown(self) -> ShownToken:
        return ShownToken(self.token)

    def _new(self) -> Challenge:
        return Challenge(self.token, secrets.token_bytes(NUMBER_BYTES))

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        self.is_stopped = True
        for listener in self._listeners:
            listener.stop()
        for connection in list(self.connections):
            connection.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def reading(self) -> Reading:
        """The refused connections, as a metric source."""
        return self.refusals.reading()

    def _open_tcp(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        with contextlib.suppress(OSError):  # It has ended meanwhile.
            tune(connection)
        self._open(connection, tls)

    def _open(self, connection: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        opening = asyncio.get_running_loop().create_task(self._receive_from(connection, tls))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _receive_from(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Incoming(self),
                connection,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else TLS_TIMEOUT_S,
            )
        except OSError as error:  # It has ended meanwhile, or its certificate is wrong.
            if tls is not None:
                self.refusals.count(Refusal.INVALID, f"there is no TLS with it: {error}")
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
