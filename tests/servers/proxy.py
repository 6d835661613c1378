"""A TCP proxy on a free loopback port that cuts connections on request of a test.

It runs on an event loop in its own thread, so that tests can use blocking clients.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

__all__ = ["Cut", "Proxy"]

CHUNK_BYTES: Final = 65_536
HAND_OVER_TIMEOUT_S: Final = 10.0
READY_FOR_QUERY: Final = b"Z\x00\x00\x00\x05"
"""The end of PostgreSQL's answer to a request."""

ReturnT = TypeVar("ReturnT")


class Cut(Enum):
    """When to cut a connection, relative to the request with the marker."""

    BEFORE = auto()
    """The server never sees the request."""
    MEANWHILE = auto()
    """The server has the request. Whether it acts on it depends on chance."""
    AFTER = auto()
    """The server has answered; the client never sees the answer."""


@dataclass(eq=False, slots=True)
class _Pair:
    """The connection of one client, and the proxy's connection to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    swallowed: bytes | None = None
    """The withheld part of the answer; None while answers pass."""
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        for writer in (self.client, self.server):
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()
        self.done.set()


class Proxy:
    """Forwards bytes to a server, by TCP or over a Unix socket, until a test cuts it."""

    def __init__(
        self, server: Path | tuple[str, int], *, answered: bytes = READY_FOR_QUERY
    ) -> None:
        """`answered` is the end of an answer of the server; PostgreSQL's by default."""
        self.server: Final = server
        self.host: Final = "127.0.0.1"
        self.port = 0
        self.cuts = 0
        """Connections that were cut by a marker."""
        self.accepted = 0
        self._answered = answered
        self._armed: tuple[bytes, Cut] | None = None
        self._refuses = False
        self._flows = asyncio.Event()
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HAND_OVER_TIMEOUT_S)
        self._loop.close()

    # --- for tests --------------------------------------------------------------------

    def arm(self, marker: bytes, cut: Cut) -> None:
        """Cut the connection of the next request that contains these bytes."""
        self._call(lambda: setattr(self, "_armed", (marker, cut)))

    def cut_all(self) -> None:
        """Cut every connection that is open now."""
        self._call(self._cut_all)

    def refuse(self) -> None:
        """Cut open connections, and close each new one at once, until `accept`."""
        self._call(self._refuse)

    def accept(self) -> None:
        """Accept connections again."""
        self._call(lambda: setattr(self, "_refuses", False))

    def freeze(self) -> None:
        """Forward nothing in either direction, with all connections open, until `thaw`."""
        self._call(self._flows.clear)

    def thaw(self) -> None:
        """Forward again, beginning with the held bytes."""
        self._call(self._flows.set)

    # --- on the event loop -------------------------------------------------------------------

    def _run(self, coroutine: Coroutine[Any, Any, ReturnT]) -> ReturnT:
        running: Future[ReturnT] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return running.result(HAND_OVER_TIMEOUT_S)

    def _call(self, function: Callable[[], object]) -> None:
        async def call() -> None:
            function()

        self._run(call())

    async def _listen(self) -> None:
        self._flows.set()
        self._listener = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._listener.close()
        self._refuse()
        self._flows.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=HAND_OVER_TIMEOUT_S / 2)

    def _cut_all(self) -> None:
        for pair in self._pairs:
            pair.cut()

    def _refuse(self) -> None:
        self._refuses = True
        self._cut_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refuses:
            writer.transport.abort()
            return
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if isinstance(self.server, Path):
                answers, server = await asyncio.open_unix_connection(self.server)
            else:
                answers, server = await asyncio.open_connection(*self.server)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, server)
        self._pairs.add(pair)
        ways = (
            asyncio.ensure_future(self._requests(reader, pair)),
            asyncio.ensure_future(self._answers(answers, pair)),
            asyncio.ensure_future(pair.done.wait()),
        )
        try:
            # When one side ends, the other ends too, as on a broken network path.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            for way in ways:
                way.cancel()
            pair.cut()

    async def _requests(self, reader: asyncio.StreamReader, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while received := await reader.read(CHUNK_BYTES):
                await self._flows.wait()
                cut = self._cut_for(received)
                if cut is Cut.BEFORE:
                    return
                if cut is not None:
                    pair.swallowed = b""  # Set first, so that not even a fast answer passes.
                pair.server.write(received)
                await pair.server.drain()
                if cut is Cut.MEANWHILE:
                    # Let the written bytes leave before the abort.
                    await asyncio.sleep(0)
                    return

    async def _answers(self, reader: asyncio.StreamReader, pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            while received := await reader.read(CHUNK_BYTES):
                await self._flows.wait()
                if pair.swallowed is None:
                    pair.client.write(received)
                    await pair.client.drain()
                    continue
                pair.swallowed += received
                if self._answered in pair.swallowed:
                    return

    def _cut_for(self, received: bytes) -> Cut | None:
        if self._armed is None or self._armed[0] not in received:
            return None
        cut, self._armed = self._armed[1], None
        self.cuts += 1
        return cut
