"""The carrier of a link by a connection: a Unix socket inside a node, TCP between nodes.

A connection carries frames in one direction: the frames of the peer come by its own.

A frame with object references, or without a connection, goes by the fallback carrier; the link's
frame numbers restore the order. A Unix socket breaks with its process, so it is tried once. A TCP
connection may fail, or break, while both processes live: the fallback replaces it, the link sends
again what may be lost, and the connection is tried again, with a back-off. Nobody waits for the
first TCP connection either: behind a firewall that is silent, each attempt takes its whole time.
"""

import asyncio
import contextlib
import enum
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from callboard.actors.kernel.inspection.metric_sources import Name, Reading
from callboard.messages.control.spec import Backoff
from callboard.messages.ports import FrameCarrier

from .connections import LOGGER, Counted, open_connection
from .handshake import GREETING_BYTES, NUMBER_BYTES, PROOF_BYTES, Response
from .sockets import LENGTH, SocketAddress
from .tcp import TcpAddress, Tls, new_socket, tune

__all__ = [
    "CONNECT_TIMEOUT_S",
    "Find",
    "StreamCarrier",
    "StreamFailure",
    "Streams",
    "TcpWay",
    "UnixWay",
    "Way",
]

CONNECT_TIMEOUT_S: Final = 2.0
WRITE_BUFFER_BYTES: Final = 256 << 10
"""The link waits when more bytes than this wait for the kernel."""
WRITE_TIMEOUT_S: Final = 10.0
"""A frame waits so long for room in a TCP connection. Then the connection is given up."""
RECONNECT: Final = Backoff(min_s=0.1, max_s=60.0)
"""The waits between attempts to connect. With 1,000 hosts behind a closed firewall each tries 17
times a second in all."""
Find = Callable[[], Awaitable[TcpAddress | None]]
"""Asks a peer for its address; None when it has none. Raises `OSError`."""


@enum.unique
class StreamFailure(enum.Enum):
    """Why a connection to another node failed. The values are labels of a metric."""

    UNREACHABLE = "unreachable"
    UNPROVEN = "unproven"
    BROKEN = "broken"
    STALLED = "stalled"


class Way(Protocol):
    """How a carrier connects."""

    @property
    def is_local(self) -> bool:
        """Whether it connects at once or never: frames wait for it, and it is tried once."""

    async def open(self, protocol: asyncio.Protocol) -> Any:
        """The transport of a new connection. Raises `OSError`."""

    def opened(self, carrier: object) -> None:
        """A carrier has a connection."""

    def failed(self, carrier: object, why: StreamFailure, detail: str) -> None:
        """A carrier has lost its connection, or could not make one."""

    def ended(self, carrier: object) -> None:
        """A carrier is used no more."""


class UnixWay:
    """To a process of this node."""

    is_local: Final = True

    def __init__(self, address: SocketAddress) -> None:
        self._address: Final = address

    async def open(self, protocol: asyncio.Protocol) -> Any:
        """See `Way`."""
        address, loop = self._address, asyncio.get_running_loop()
        peer = await open_connection(address.name, address.token, CONNECT_TIMEOUT_S)
        transport, _ = await loop.create_unix_connection(lambda: protocol, sock=peer)
        return transport

    def opened(self, carrier: object) -> None:
        """See `Way`."""

    def failed(self, carrier: object, why: StreamFailure, detail: str) -> None:
        """See `Way`."""
        if why is not StreamFailure.BROKEN:  # Otherwise its process has ended.
            LOGGER.warning("Ray calls replace the socket to a host of this node: %s", detail)

    def ended(self, carrier: object) -> None:
        """See `Way`."""


class Streams:
    """The connections of one process to other nodes: how many there are, and what fails."""

    def __init__(self) -> None:
        self._open: Final[set[object]] = set()
        self._replaced: Final[set[object]] = set()
        self._failures: Final = Counted(
            "callboard_connections_failed",
            "Ray calls replace a TCP connection to another node, which is tried again",
            "more TCP connections to other nodes failed",
        )

    def opened(self, carrier: object) -> None:
        """A carrier has a connection."""
        self._replaced.discard(carrier)
        self._open.add(carrier)

    def failed(self, carrier: object, why: StreamFailure, detail: str) -> None:
        """A carrier has lost its connection, or could not make one."""
        self._open.discard(carrier)
        self._replaced.add(carrier)
        self._failures.count(why, detail)

    def ended(self, carrier: object) -> None:
        """A carrier is used no more."""
        self._open.discard(carrier)
        self._replaced.discard(carrier)

    def reading(self) -> Reading:
        """The counts of connections and failures, as a metric source."""
        name = "callboard_links_between_nodes"
        gauges = {Name(name, "tcp"): len(self._open), Name(name, "calls"): len(self._replaced)}
        return Reading(self._failures.reading().counts, gauges)

    def close(self) -> None:
        """Log what was counted since the last line."""
        self._failures.close()


class TcpWay:
    """To a process of another node, whose address is asked for at each attempt."""

    is_local: Final = False

    def __init__(self, find: Find, streams: Streams, tls: Tls | None) -> None:
        self._find: Final = find
        self._streams: Final = streams
        self._tls: Final = tls
        self.opened: Final = streams.opened
        self.failed: Final = streams.failed
        self.ended: Final = streams.ended

    async def open(self, protocol: asyncio.Protocol) -> Any:
        """See `Way`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                address = await self._find()
                if address is None:
                    raise Unknown("the peer has no port")
                tls = None if self._tls is None else self._tls.peer
                if address.is_encrypted != (tls is not None):
                    raise OSError("only one of both processes has RAY_USE_TLS")
                peer = await _prove(address)
                try:
                    transport, _ = await loop.create_connection(
                        lambda: protocol,
                        sock=peer,
                        ssl=tls,
                        server_hostname=address.host if tls is not None else None,
                    )
                except BaseException:
                    peer.close()
                    raise
                return transport
        except TimeoutError:
            raise OSError(f"no connection within {CONNECT_TIMEOUT_S:g} s") from None


class Unknown(OSError):
    """The peer has no address, or it is not known yet: no failure."""


class Unproven(OSError):
    """What listens there does not know the token."""


async def _prove(address: TcpAddress) -> socket.socket:
    """A connection on which both sides have proven that they know the token."""
    loop = asyncio.get_running_loop()
    connection = new_socket(address.host)
    try:
        connection.settimeout(0.0)
        tune(connection)
        await loop.sock_connect(connection, (address.host, address.port))
        await _exchange_proofs(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _exchange_proofs(connection: socket.socket, address: TcpAddress) -> None:
    response = Response(address.token, secrets.token_bytes(NUMBER_BYTES))
    answer = response.answer(await _exactly(connection, GREETING_BYTES))
    if not answer:
        raise Unproven(f"{address.host}:{address.port} does not greet as a host")
    await asyncio.get_running_loop().sock_sendall(connection, answer)
    if not response.is_right(await _exactly(connection, PROOF_BYTES)):
        raise Unproven(f"{address.host}:{address.port} does not know the token")


async def _exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes, and not one more."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        part = await loop.sock_recv(connection, size - len(data))
        if not part:
            raise ConnectionResetError("it was closed before its proof")
        data += part
    return data


class _Outgoing(asyncio.Protocol):
    """One connection, from its first byte to its end."""

    def __init__(self, lost: Callable[["_Outgoing", str], None]) -> None:
        self._lost: Final = lost
        self._room: asyncio.Future[None] | None = None
        self.transport: Any = None
        self.is_paused = False
        self.is_over = False

    def pause_writing(self) -> None:
        """Pause: the kernel's buffer is full."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """Resume: the buffer has room."""
        self.is_paused = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer has ended, or closed the connection, or the network has."""
        self.is_over = True
        self._wake()
        self._lost(self, "the peer closed it" if exc is None else str(exc))

    async def room(self) -> None:
        """Wait until there is room, or the connection is over. One frame at a time waits here."""
        while self.is_paused and not self.is_over:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


class StreamCarrier:
    """Carries a link's frames to one process."""

    def __init__(self, way: Way, fallback: FrameCarrier) -> None:
        self._way: Final = way
        self._fallback: Final = fallback
        self._stream: _Outgoing | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting = 0
        """Frames that wait for room."""
        self._turns: Final = asyncio.Lock()
        """Waiting frames leave in order. One that later ones overtake again and again is missed by
        the peer, which refuses the link then."""
        self._failures = 0
        """In a row."""
        self._opened_s = 0.0
        self._rest_s = 0.0
        """The wait after the last failure."""
        self._retry: asyncio.TimerHandle | None = None
        """Makes the next attempt."""
        self._is_closed = False
        self.on_break: Callable[[], object] = _ignore

    @property
    def is_stream(self) -> bool:
        """True with a connection; true before a local one, as frames wait for it."""
        return self._stream is not None or (self._way.is_local and not self._failures)

    def write(self, frame: bytes) -> bool:
        """Hand a frame over without waiting; False when `deliver` must be used."""
        # A frame that waits for room would wait for ever if later frames took all of it.
        return not self._waiting and self._write(frame)

    def _write(self, frame: bytes) -> bool:
        stream = self._stream
        if stream is None or stream.is_paused:
            return False
        stream.transport.writelines((LENGTH.pack(len(frame)), frame))
        return True

    async def deliver(self, frame: bytes, references: Sequence[Any]) -> tuple[bytes, Sequence[Any]]:
        """Hand a frame over; see `FrameCarrier`."""
        if references:
            return await self._fallback.deliver(frame, references)
        if self._stream is None:
            if not self._failures:
                self._connect()  # After a failure a timer does it.
            if self._way.is_local and self._connecting is not None:
                await asyncio.shield(self._connecting)
        if self._stream is not None and await self._write_with_room(self._stream, frame):
            return b"", ()
        return await self._fallback.deliver(frame, references)

    async def _write_with_room(self, stream: _Outgoing, frame: bytes) -> bool:
        self._waiting += 1
        try:
            limit_s = None if self._way.is_local else WRITE_TIMEOUT_S
            async with asyncio.timeout(limit_s), self._turns:
                await stream.room()
                return self._write(frame)
        except TimeoutError:
            why = f"the peer takes no frame for {WRITE_TIMEOUT_S:g} s"
            self._lose(stream, StreamFailure.STALLED, why)
            stream.transport.abort()
            return False
        finally:
            self._waiting -= 1

    # --- the connection -----------------------------------------------------------------------

    def _connect(self) -> None:
        self._retry = None
        if self._connecting is None and not self._is_closed:
            self._connecting = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        stream = _Outgoing(self._is_over)
        try:
            transport = await self._way.open(stream)
        except Unproven as error:
            self._failed(StreamFailure.UNPROVEN, str(error))
        except Unknown:
            self._rest()
        except OSError as error:
            self._failed(StreamFailure.UNREACHABLE, str(error))
        else:
            if stream.is_over:
                self._failed(StreamFailure.BROKEN, "the peer closed it at once")
                return
            if self._is_closed:
                transport.close()
                return
            transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
            stream.transport, self._stream = transport, stream
            self._opened_s = asyncio.get_running_loop().time()
            self._way.opened(self)
        finally:
            self._connecting = None

    def _is_over(self, stream: _Outgoing, why: str) -> None:
        self._lose(stream, StreamFailure.BROKEN, why)

    def _lose(self, stream: _Outgoing, why: StreamFailure, detail: str) -> None:
        """Use the fallback from now on, and let the link send again what may be lost."""
        if stream is not self._stream:
            return  # It has been given up, or closed, or was never used.
        self._stream = None
        if asyncio.get_running_loop().time() - self._opened_s >= self._rest_s:
            self._failures = 0  # It was there for longer than it was waited for.
        self._failed(why, detail)
        if not self._way.is_local:
            self.on_break()

    def _failed(self, why: StreamFailure, detail: str) -> None:
        self._rest()
        self._way.failed(self, why, detail)

    def _rest(self) -> None:
        self._failures += 1
        if not self._way.is_local and not self._is_closed:
            self._rest_s = RECONNECT.delay_s(self._failures)
            self._retry = asyncio.get_running_loop().call_later(self._rest_s, self._connect)

    def close(self) -> None:
        """Close the connection, for good."""
        self.on_break = _ignore
        self._is_closed = True
        self._way.ended(self)
        if self._retry is not None:
            self._retry.cancel()
        if self._connecting is not None and not self._way.is_local:
            self._connecting.cancel()  # Frames wait for a local one.
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.transport.close()


def _ignore() -> None:
    """No link has to know."""
