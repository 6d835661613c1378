"""Bytes on a socket: what no client would send, and what exactly comes back."""

import asyncio
import base64
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

ANSWER_S = 10.0


@dataclass
class Answer:
    """A response, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


def request_bytes(method: str, target: str, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def exchange(port: int, data: bytes) -> bytes:
    """Send bytes, and give all that comes until the server closes; b"" for a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(ANSWER_S):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


def answer_of(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(
        int(first.split()[1]), {name.lower(): text for name, text in headers.items()}, body
    )


async def ask(
    port: int,
    target: str = "/healthz",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    more: bytes = b"",
) -> Answer:
    """One request as a well-behaved client sends it, unless `headers` say otherwise."""
    found = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
    return answer_of(
        await exchange(port, request_bytes(method, target, list(found.items())) + more)
    )


def upgrade_headers(port: int, headers: Mapping[str, str] | None = None) -> dict[str, str]:
    return {
        "Host": f"127.0.0.1:{port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **(headers or {}),
    }


class RawSocket:
    """A WebSocket by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(
        cls,
        port: int,
        target: str = "/connection/websocket",
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found = list(upgrade_headers(port, headers).items())
        try:
            writer.write(request_bytes("GET", target, found))
            async with asyncio.timeout(ANSWER_S):
                head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head.split(b"\r\n")[0], head
        except BaseException:
            writer.transport.abort()
            raise
        return cls(reader, writer)

    def send(self, payload: bytes | str, *, opcode: int | None = None, fin: bool = True) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        kind = (1 if isinstance(payload, str) else 2) if opcode is None else opcode
        first = kind | (0x80 if fin else 0)
        if len(data) < 126:
            head = struct.pack("!BB", first, 0x80 | len(data))
        elif len(data) < 65_536:
            head = struct.pack("!BBH", first, 0x80 | 126, len(data))
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, len(data))
        self.writer.write(head + bytes(4) + data)

    def send_json(self, *commands: Any) -> None:
        self.send("\n".join(json.dumps(command) for command in commands))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its opcode and payload. Raises what a closed socket raises."""
        async with asyncio.timeout(ANSWER_S):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                [size] = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                [size] = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0xF, await self.reader.readexactly(size)

    async def replies(self) -> list[dict[str, Any]]:
        """The objects of the next text frame."""
        opcode, payload = await self.frame()
        assert opcode == 1, (opcode, payload)
        return [json.loads(line) for line in payload.split(b"\n")]

    async def connect(self, token: str) -> dict[str, Any]:
        """Introduce the client."""
        self.send_json({"id": 1, "connect": {"token": token}})
        [reply] = await self.replies()
        return reply

    async def closed(self) -> tuple[int, str]:
        """The code and the reason of the close that comes, after whatever comes before."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                [code] = struct.unpack("!H", payload[:2])
                self.abort()
                return code, payload[2:].decode()

    def abort(self) -> None:
        self.writer.transport.abort()
