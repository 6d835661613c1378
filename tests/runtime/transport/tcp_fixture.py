"""A server with a port on the loopback interface, carriers to it, and a proxy between them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from callboard.actors.kernel.inspection.metric_sources import Name
from callboard.messages.core.errors import FrameError
from callboard.messages.core.limits import Limits
from callboard.runtime.transport.connections import Refusal
from callboard.runtime.transport.sockets import SocketServer
from callboard.runtime.transport.stream_carrier import StreamCarrier, StreamFailure, Streams, TcpWay
from callboard.runtime.transport.tcp import TcpAddress, Tls

HERE: Final = "127.0.0.1"
DEADLINE_S: Final = 10.0


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that nothing announces."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


class Fallback:
    """The carrier that replaces a connection: keeps the frames that it gets."""

    is_stream = False

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def write(self, frame: bytes) -> bool:
        return False

    def close(self) -> None:
        pass

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        self.frames.append(frame)
        return b"by the other way", ()


class Port(SocketServer):
    """A server whose frames a test waits for."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.frames: list[bytes] = []
        super().__init__(self._take, limits or Limits())

    def _take(self, frame: bytes) -> None:
        if frame.startswith(b"bad"):
            raise FrameError("as it says")
        self.frames.append(frame)

    def refused(self, why: Refusal) -> float:
        return self.reading().counts.get(Name("callboard_connections_refused", why.value), 0)


class Line:
    """One carrier to a port, with its fallback."""

    def __init__(self, address: TcpAddress | None, tls: Tls | None = None) -> None:
        self.address = address
        self.asked = 0
        self.streams: Final = Streams()
        self.fallback: Final = Fallback()
        self.breaks = 0
        self.carrier: Final = StreamCarrier(TcpWay(self._find, self.streams, tls), self.fallback)
        self.carrier.on_break = self._broke

    async def _find(self) -> TcpAddress | None:
        self.asked += 1
        return self.address

    def _broke(self) -> None:
        self.breaks += 1

    def way(self, way: str) -> float:
        return self.streams.reading().gauges[Name("callboard_links_between_nodes", way)]

    def failed(self, why: StreamFailure) -> float:
        counts = self.streams.reading().counts
        return counts.get(Name("callboard_connections_failed", why.value), 0)

    async def connect(self) -> None:
        """Send a frame, which begins to connect; return when the connection is there."""
        await self.carrier.deliver(b"first", ())
        await until(lambda: self.carrier.is_stream)


@asynccontextmanager
async def port(
    limits: Limits | None = None, tls: Tls | None = None
) -> AsyncIterator[tuple[Port, TcpAddress]]:
    server = Port(limits)
    try:
        yield server, server.open_port(HERE, range(1), tls)
    finally:
        await server.stop()


class Proxy:
    """Stands between a carrier and a port, and can cut or stall what goes through it."""

    def __init__(self, target: TcpAddress) -> None:
        self._target = target
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.heard = bytearray()
        """All that went to the port."""

    async def start(self) -> TcpAddress:
        self._server = await asyncio.start_server(self._serve, HERE, 0)
        return self._target._replace(port=self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        there, back = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, back]
        await asyncio.gather(self._pass(reader, back, self.heard), self._pass(there, writer, None))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray | None
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self.goes_on.wait()
                if heard is not None:
                    heard += data
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Close all connections in the middle of what they carry."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.goes_on.set()
        self.cut()
        await asyncio.gather(*self._serving)
        if self._server is not None:
            self._server.close()


@asynccontextmanager
async def proxy(target: TcpAddress) -> AsyncIterator[tuple[Proxy, TcpAddress]]:
    between = Proxy(target)
    try:
        yield between, await between.start()
    finally:
        await between.close()


def connected(address: TcpAddress) -> socket.socket:
    """A stranger's connection."""
    connection = socket.create_connection((address.host, address.port))
    connection.settimeout(0.0)
    return connection


async def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes the connection, whatever it has sent before."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            while await asyncio.get_running_loop().sock_recv(connection, 4096):
                pass
        except ConnectionError:
            pass
        return True


async def exactly(connection: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(DEADLINE_S):
        while len(data) < size:
            part = await loop.sock_recv(connection, size - len(data))
            assert part, f"closed after {data!r}"
            data += part
    return data
