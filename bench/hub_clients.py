"""The load generator of `hub`: a process with many cheap WebSocket clients.

It reads no frame. It counts the mark of a delivery in the bytes that arrive, at the speed of C, so
that the machine's other processor is enough for what a server sends. Orders come as lines on
standard input, reports go out as lines of JSON.

    python -m bench.hub_clients PORT PATH
    > {"open": 100, "hello": ["…"], "ready": "…"}     < {"opened_ns": …, "done_ns": …}
    > {"count": 50000, "mark": "…"}                   < {"deliveries": …, "done_ns": …}
    > {"times": 1000}                                 < {"late_us": [...]}

`times` collects the differences between now and the numbers after `"at":`, in nanoseconds of the
clock that all processes of a machine share.
"""

import asyncio
import base64
import json
import os
import re
import sys
import time
from typing import Any, Final, cast

import uvloop

__all__ = ["Clients", "main"]

AT: Final = re.compile(rb'"at": ?(\d+)')
CLOSE: Final = b"\x88"
TIMEOUT_S: Final = 120.0
AT_ONCE: Final = 200
"""Connections that begin together; the backlog of a listener has room for them."""


def masked(text: str) -> bytes:
    """A text frame of a client, with a mask of zeros."""
    data = text.encode()
    if len(data) < 126:
        return bytes((0x81, 0x80 | len(data))) + bytes(4) + data
    return bytes((0x81, 0x80 | 126)) + len(data).to_bytes(2, "big") + bytes(4) + data


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients
        self._tail = b""
        self._is_upgraded = self._is_ready = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self.transport.write(self._clients.request)

    def data_received(self, data: bytes) -> None:
        clients = self._clients
        if not self._is_ready:
            self._tail += data
            if not self._is_upgraded and b"\r\n\r\n" in self._tail:
                self._is_upgraded = True
                self.transport.write(b"".join(clients.hello))
            if self._is_upgraded and clients.ready in self._tail:
                self._is_ready = True
                clients.became_ready()
                self._tail = self._tail.rpartition(clients.ready)[2]
            return
        if clients.times is not None:
            clients.times += (time.monotonic_ns() - int(found) for found in AT.findall(data))
            clients.check()
            return
        data = self._tail + data
        clients.deliveries += data.count(clients.mark)
        self._tail = data[1 - len(clients.mark) :]
        clients.check()


class Clients:
    """All connections of this process."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._open: list[_Client] = []
        self._wanted = 0
        self._count = 0
        self._done = asyncio.Event()
        self.ready = b""
        self.mark = b"\0"
        self.hello: list[bytes] = []
        self.times: list[int] | None = None
        self.deliveries = 0

    @property
    def request(self) -> bytes:
        """The upgrade."""
        lines = [
            f"GET {self._path} HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def became_ready(self) -> None:
        """One more is subscribed."""
        self._count += 1
        if self._count == self._wanted:
            self._done.set()

    def check(self) -> None:
        """End the count when all have come."""
        found = len(self.times) if self.times is not None else self.deliveries
        if found >= self._wanted:
            self._done.set()

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry an order out, and report."""
        begun_ns = time.monotonic_ns()
        self._done.clear()
        if "open" in order:
            await self._open_all(order)
        elif "times" in order:
            self.times, self._wanted = [], order["times"]
        elif "close" in order:
            for client in self._open:
                client.transport.abort()
            self._open.clear()
            self._done.set()
        else:
            self.times, self.deliveries, self._wanted = None, 0, order["count"]
            self.mark = order["mark"].encode()
        print("{}", flush=True)  # The order has been taken.
        async with asyncio.timeout(TIMEOUT_S):
            await self._done.wait()
        report: dict[str, Any] = {"begun_ns": begun_ns, "done_ns": time.monotonic_ns()}
        if self.times is not None:
            report["times_ns"] = self.times
        return {**report, "deliveries": self.deliveries}

    async def _open_all(self, order: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        self.hello = [masked(text) for text in order["hello"]]
        self.ready = order["ready"].encode()
        self._count, self._wanted = 0, order["open"]
        self.times = None

        async def open_one() -> None:
            _, client = await loop.create_connection(lambda: _Client(self), "127.0.0.1", self._port)
            self._open.append(client)

        for first in range(0, order["open"], AT_ONCE):
            count = min(AT_ONCE, order["open"] - first)
            await asyncio.gather(*(open_one() for _ in range(count)))


async def _main(port: int, path: str) -> None:
    clients = Clients(port, path)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(await clients.obey(json.loads(line))), flush=True)


def main() -> None:
    """Obey the lines of standard input until it ends."""
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    main()
