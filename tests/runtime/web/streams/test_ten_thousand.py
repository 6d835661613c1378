"""Attack 9, ten thousand connects from one address, and what stays of ten thousand clients."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.memory import LINUX, own_bytes
from callboard.actors.journal.journal import Journal
from callboard.runtime.stores.choose import event_store
from callboard.runtime.web.settings import WebLimits
from tests.runtime.web.edge import GOOD
from tests.runtime.web.raw import ANSWER_S, RawSocket, request_bytes, upgrade_headers

from .test_kills import HubProcess, grow

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not LINUX, reason="only Linux has the addresses 127.0.0.0/8"),
]
ATTACKER, HONEST = "127.0.0.3", "127.0.0.2"
CONNECTS = 10_000
WAVE = 1_000
AT_ONCE = 20
MEGABYTE = 1 << 20


@pytest.fixture
async def hub(root: Path, tmp_path: Path) -> AsyncIterator[HubProcess]:
    path = tmp_path / "journal.db"
    journal = Journal(event_store(str(path)), owner="test")
    await journal.open()
    await grow(journal, 1)
    hub = HubProcess(root, path)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.kill()
        await journal.close(timeout_s=5.0)


class Silent(asyncio.Protocol):
    """A socket that asks for an upgrade, and then says nothing more."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.is_accepted = self.is_over = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        # A refusal is an accept and a close in one: it holds no place.
        self.is_over = self.is_over or b"\x88" in data
        self.is_accepted = self.is_accepted or b" 101 " in data[:20]

    @property
    def holds_a_place(self) -> bool:
        return self.is_accepted and not self.is_over


async def honest(port: int, address: str) -> None:
    """A client that says who it is, and is served within the time for that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    writer.write(request_bytes("GET", "/connection/websocket", list(upgrade_headers(port).items())))
    async with asyncio.timeout(ANSWER_S):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    socket = RawSocket(reader, writer)
    assert "connect" in await socket.connect(GOOD)
    socket.abort()


async def test_9_ten_thousand_connects_from_one_address_delay_no_other_address(
    hub: HubProcess,
) -> None:
    loop = asyncio.get_running_loop()
    request = request_bytes("GET", "/connection/websocket", list(upgrade_headers(hub.port).items()))
    for _ in range(CONNECTS // WAVE):
        wave: list[Silent] = []
        for _ in range(WAVE):
            _, silent = await loop.create_connection(
                lambda: Silent(request), "127.0.0.1", hub.port, local_addr=(ATTACKER, 0)
            )
            wave.append(silent)
        for _ in range(3):
            await honest(hub.port, HONEST)
        assert sum(each.holds_a_place for each in wave) <= WebLimits().unknown_per_address_max
        for each in wave:
            each.transport.abort()
    await honest(hub.port, ATTACKER)


async def test_memory_is_flat_after_ten_thousand_clients_have_come_and_gone(
    hub: HubProcess,
) -> None:
    """Socket.IO keeps memory of clients that have left (socketio/socket.io#2427)."""

    async def come_and_go(count: int) -> None:
        for _ in range(count):
            socket = await RawSocket.open(hub.port)
            await socket.connect(GOOD)
            socket.send_json({"id": 2, "subscribe": {"channel": "events"}})
            assert "subscribe" in (await socket.replies())[0]
            socket.abort()

    async def all_of(count: int) -> int:
        await asyncio.gather(*(come_and_go(count // AT_ONCE) for _ in range(AT_ONCE)))
        return own_bytes(hub.pid)

    before = await all_of(CONNECTS // 10)
    after = await all_of(CONNECTS)
    assert after - before < 5 * MEGABYTE, (before, after)


async def test_900_idle_subscribed_connections_cost_at_most_40_kb_each(
    hub: HubProcess,
) -> None:
    """Memory by connection: python-websockets/websockets#1644, Kludex/uvicorn#1862."""

    async def subscribed() -> RawSocket:
        socket = await RawSocket.open(hub.port)
        await socket.connect(GOOD)
        socket.send_json({"id": 2, "subscribe": {"channel": "events"}})
        assert "subscribe" in (await socket.replies())[0]
        return socket

    sockets = [await subscribed() for _ in range(50)]
    before = own_bytes(hub.pid)
    # A user has at most 1,000 connections.
    sockets += [await subscribed() for _ in range(900)]
    each_bytes = (own_bytes(hub.pid) - before) / 900
    for socket in sockets:
        socket.abort()
    assert each_bytes < 40 * 1_024, each_bytes
