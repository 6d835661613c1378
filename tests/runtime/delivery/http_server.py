"""A real HTTP server on loopback that answers as the test says."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

ANSWER = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """`answers` are the next answers: a status, or bytes; None answers nothing at all."""

    port: int = 0
    answers: list[int | bytes | None] = field(default_factory=list)
    got: list[Received] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers["content-length"]))
            self.got.append(Received(head[0].split(" ")[1], headers, body))
            answer = self.answers.pop(0) if self.answers else 200
            if answer is None:
                await self.hanging.wait()
            else:
                writer.write(ANSWER % answer if isinstance(answer, int) else answer)
                await writer.drain()
        writer.close()


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for something that no event announces."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """A server on a free port."""
    made = Server()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.hanging.set()
        server.close()
        await server.wait_closed()
