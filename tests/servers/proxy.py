"""A TCP proxy on a free loopback port that loses connections when a test says so.

It runs on an event loop in a thread of its own, so blocking clients can be tested with it.
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
"""What PostgreSQL ends its answer to a request with."""

ReturnT = TypeVar("ReturnT")


class Cut(Enum):
    """When a connection is cut, seen from the request that holds the marker."""

    BEFORE = auto()
    """The server never sees the request."""
    MEANWHILE = auto()
    """The server has the request; whether it acts on it is left to chance."""
    AFTER = auto()
    """The server has answered; the client never sees the answer."""


@dataclass(eq=False, slots=True)
class _Pair:
    """One client's connection and ours to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    swallowed: bytes | None = None
    """The answer so far, once it is kept from the client."""
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        for writer in (self.client, self.server):
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()
        self.done.set()


class Proxy:
    """Forwards bytes to a server, by TCP or at a Unix socket, until it is told to cut."""

    def __init__(
        self, server: Path | tuple[str, int], *, answered: bytes = READY_FOR_QUERY
    ) -> None:
        """`answered` is what the server ends an answer with; PostgreSQL's by default."""
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

    # --- what tests say --------------------------------------------------------------------

    def arm(self, marker: bytes, cut: Cut) -> None:
        """Cut the connection of the next request that holds these bytes."""
        self._call(lambda: setattr(self, "_armed", (marker, cut)))

    def cut_all(self) -> None:
        """Cut every connection that is open now."""
        self._call(self._cut_all)

    def refuse(self) -> None:
        """Cut what is open, and end each new connection at once, until `accept`."""
        self._call(self._refuse)

    def accept(self) -> None:
        """Take connections again."""
        self._call(lambda: setattr(self, "_refuses", False))

    def freeze(self) -> None:
        """Forward nothing in either direction, with all connections open, until `thaw`."""
        self._call(self._flows.clear)

    def thaw(self) -> None:
        """Forward again, beginning with what was held back."""
        self._call(self._flows.set)

    # --- the loop's side -------------------------------------------------------------------

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
            # One side has ended: so does the other, as with a real broken path.
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
                    pair.swallowed = b""  # However fast the server is: no answer gets through.
                pair.server.write(received)
                await pair.server.drain()
                if cut is Cut.MEANWHILE:
                    # Let what was written leave before the connection is aborted.
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
