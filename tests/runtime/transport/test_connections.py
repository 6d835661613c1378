"""Connections of strangers: refused, counted, bounded, and no burden for others."""

import asyncio
import logging
import os
import secrets
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.inspection.metric_sources import Name
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import FrameError
from callboard.messages.core.limits import Limits
from callboard.runtime.api.start import start
from callboard.runtime.engines.ray.engine import RayEngine
from callboard.runtime.transport import connections
from callboard.runtime.transport.connections import Refusal, open_connection
from callboard.runtime.transport.sockets import SocketAddress, SocketServer
from callboard.runtime.transport.stream_carrier import StreamCarrier, UnixWay
from tests.thoroughness import examples

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs abstract socket names")
DEADLINE_S: Final = 10.0
NOBODY: Final = 65_534
STRANGER: Final = """
import os, socket, sys

os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
connected = 0
for _ in range(int(sys.argv[2])):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(chr(0) + sys.argv[3])
            connected += 1
            connection.sendall(b"x" * 64)
        except OSError:
            pass
print(connected)
"""
"""A process of another user, which connects again and again."""
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can start another user's process")


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that nothing announces."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


class Server(SocketServer):
    """A server whose frames a test waits for."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.arrived = asyncio.Event()
        super().__init__(self._take, Limits())

    def _take(self, frame: bytes) -> None:
        if frame.startswith(b"bad"):
            raise FrameError("as it says")
        self.frames.append(frame)
        self.arrived.set()

    def refused(self, why: Refusal) -> float:
        return self.reading().counts.get(Name("callboard_connections_refused", why.value), 0)

    async def until(self, why: Refusal, count: int) -> None:
        """Wait until so many were refused."""
        await until(lambda: self.refused(why) >= count)

    async def takes(self, frame: bytes, address: SocketAddress) -> None:
        """A peer with the token gets a frame through, by the socket."""
        carrier = StreamCarrier(UnixWay(address), None)  # type: ignore[arg-type] # a fallback would fail
        await carrier.deliver(frame, ())
        await until(lambda: frame in self.frames)
        carrier.close()


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Server, SocketAddress]]:
    server = Server()
    address = await server.start("node")
    assert address is not None
    try:
        yield server, address
    finally:
        await server.stop()


def block_the_loop(for_s: float) -> None:
    """Compute like a handler that does not wait."""
    ends = time.monotonic() + for_s
    while time.monotonic() < ends:
        pass


def connected(address: SocketAddress) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(address.name)
    connection.settimeout(0.0)
    return connection


async def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes the connection."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await asyncio.get_running_loop().sock_recv(connection, 1) == b""
        except ConnectionError:
            return True


@contextmanager
def stranger(address: SocketAddress, count: int) -> Iterator["subprocess.Popen[str]"]:
    """Another user's process, which connects so many times."""
    name = address.name.removeprefix("\0")
    command = [sys.executable, "-c", STRANGER, str(NOBODY), str(count), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/") as process:
        try:
            yield process
        finally:
            process.kill()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "callboard.socket"]


# --- other users ------------------------------------------------------------------------------


@as_root
async def test_a_flood_of_another_user_is_counted_and_costs_two_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with listening() as (server, address):
        with stranger(address, 500) as process:
            out, _ = await asyncio.to_thread(process.communicate, timeout=DEADLINE_S * 3)
        await server.until(Refusal.OTHER_USER, int(out))
        assert int(out) == 500
        assert len(lines(caplog)) == 1
        assert f"is of user {NOBODY}" in lines(caplog)[0]
        assert server.connections == set()
        await server.takes(b"mine", address)
    assert lines(caplog)[1:] == [
        "499 more connections to the socket of this host were refused: other_user 499"
    ]


@as_root
async def test_a_peer_gets_its_socket_in_the_middle_of_a_flood() -> None:
    async with listening() as (server, address):
        with stranger(address, 10_000_000):
            await server.until(Refusal.OTHER_USER, 100)
            for number in range(20):
                await server.takes(b"%d" % number, address)
            assert server.refused(Refusal.OTHER_USER) > 100


@as_root
async def test_a_flood_leaves_the_loop_to_others() -> None:
    async with listening() as (server, address):
        with stranger(address, 10_000_000):
            await server.until(Refusal.OTHER_USER, 100)
            began, before = time.monotonic(), server.refused(Refusal.OTHER_USER)
            await server.until(Refusal.OTHER_USER, int(before) + 20 * connections.ACCEPTS_MAX)
            assert time.monotonic() - began > 18 * connections.REST_S


# --- connections without a token ----------------------------------------------------------------


async def test_a_silent_connection_is_closed_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "TOKEN_TIMEOUT_S", 0.05)
    async with listening() as (server, address):
        silent, half = connected(address), connected(address)
        half.sendall(address.token[:-1])
        assert await is_closed(silent)
        assert await is_closed(half)
        assert server.refused(Refusal.NO_TOKEN) == 2
        silent.close()
        half.close()


async def test_a_connection_with_its_token_has_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TOKEN_TIMEOUT_S", 0.01)
    async with listening() as (server, address):
        peer, silent = connected(address), connected(address)
        peer.sendall(address.token)
        assert await is_closed(silent)
        peer.sendall(struct.pack(">I", 5) + b"later")
        async with asyncio.timeout(DEADLINE_S):
            await server.arrived.wait()
        assert server.frames == [b"later"]
        peer.close()
        silent.close()


async def test_the_oldest_silent_connections_make_room_for_a_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "UNPROVEN_MAX", 4)
    async with listening() as (server, address):
        silent = [connected(address) for _ in range(10)]
        await server.until(Refusal.TOO_MANY, 6)
        assert [await is_closed(each) for each in silent[:6]] == [True] * 6
        await server.takes(b"mine", address)
        assert server.refused(Refusal.TOO_MANY) == 6
        for each in silent:
            each.close()


async def test_a_token_that_came_while_the_loop_was_blocked_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "TOKEN_TIMEOUT_S", 0.05)
    async with listening() as (server, address):
        peer, marker = connected(address), connected(address)
        marker.sendall(b"w" * 32)
        assert await is_closed(marker)  # So the first one is accepted, too.
        peer.sendall(address.token + struct.pack(">I", 5) + b"frame")
        block_the_loop(0.1)  # Past the deadline.
        async with asyncio.timeout(DEADLINE_S):
            await server.arrived.wait()
        assert server.refused(Refusal.NO_TOKEN) == 0
        peer.close()
        marker.close()


async def test_a_server_that_stops_closes_silent_connections() -> None:
    async with listening() as (server, address):
        silent, wrong = connected(address), connected(address)
        wrong.sendall(b"w" * 32)
        await server.until(Refusal.WRONG_TOKEN, 1)
    assert await is_closed(silent)
    silent.close()
    wrong.close()


HOSTILE: Final = st.binary(max_size=80) | st.binary(min_size=32, max_size=32)


@settings(max_examples=examples(200))
@given(st.lists(HOSTILE, max_size=4), st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_are_refused_and_harm_nobody(before: list[bytes], after: list[bytes]) -> None:
    async def attack() -> None:
        async with listening() as (server, address):
            strangers = [connected(address) for _ in before]
            for connection, noise in zip(strangers, before, strict=True):
                connection.sendall(noise)
                connection.shutdown(socket.SHUT_WR)
            insiders = [connected(address) for _ in after]
            for connection, noise in zip(insiders, after, strict=True):
                connection.sendall(address.token + noise)
            await server.takes(b"mine", address)
            for connection in strangers:
                assert await is_closed(connection)
            for connection in (*strangers, *insiders):
                connection.close()

    asyncio.run(attack())


# --- the log ------------------------------------------------------------------------------------


async def test_the_log_has_one_line_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOG_EVERY_S", 0.05)
    async with listening() as (server, _):
        for _ in range(5):
            server.refusals.count(Refusal.WRONG_TOKEN, "its token is wrong")
        server.refusals.count(Refusal.TOO_MANY, "too many")
        assert len(lines(caplog)) == 1
        await until(lambda: len(lines(caplog)) == 2)
        assert lines(caplog)[1].endswith("were refused: wrong_token 4, too_many 1")


async def test_a_quiet_minute_has_no_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOG_EVERY_S", 0.001)
    async with listening() as (server, _):
        server.refusals.count(Refusal.NO_TOKEN, "once")
        await until(lambda: server.refusals._timer is None)
        server.refusals.count(Refusal.NO_TOKEN, "twice")
    assert [line.rpartition(" ")[2] for line in lines(caplog)] == ["once", "twice"]


# --- a full queue, and no descriptor ------------------------------------------------------------


def full() -> tuple[socket.socket, str, list[socket.socket]]:
    """A socket that listens and whose queue is full, its name, and what is in the queue."""
    name = f"\0callboard-full-{secrets.token_hex(8)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(name)
    listener.listen(0)
    waiting: list[socket.socket] = []
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(0.0)
        try:
            connection.connect(name)
        except BlockingIOError:
            connection.close()
            return listener, name, waiting
        waiting.append(connection)


async def test_a_peer_waits_for_a_place_in_a_full_queue() -> None:
    listener, name, waiting = full()
    opening = asyncio.create_task(open_connection(name, b"token", DEADLINE_S))
    done, _ = await asyncio.wait((opening,), timeout=0.05)
    assert not done  # And this loop goes on.
    accepted = [listener.accept()[0] for _ in range(len(waiting) + 1)]
    connection = await opening
    assert accepted[-1].recv(5) == b"token"
    for each in (*accepted, *waiting, connection, listener):
        each.close()


async def test_a_queue_that_stays_full_is_an_os_error() -> None:
    listener, name, waiting = full()
    with pytest.raises(OSError, match=r".*"):
        await open_connection(name, b"token", 0.05)
    for each in (*waiting, listener):
        each.close()


async def test_a_server_without_descriptors_goes_on_when_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import resource

    monkeypatch.setattr(connections, "FAILED_REST_S", 0.01)
    async with listening() as (server, address):
        peer = connected(address)
        peer.sendall(address.token + struct.pack(">I", 5) + b"frame")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            await server.until(Refusal.FAILED, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with asyncio.timeout(DEADLINE_S):
            await server.arrived.wait()
        assert server.frames == [b"frame"]
        peer.close()


# --- the other event loop -----------------------------------------------------------------------


def test_uvloop_takes_connections_over_after_their_token() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def attack() -> None:
        async with listening() as (server, address):
            for number in range(50):
                slow, wrong = connected(address), connected(address)
                slow.sendall(address.token[:7])
                wrong.sendall(b"w" * 32)
                await server.until(Refusal.WRONG_TOKEN, number + 1)
                server.arrived.clear()
                slow.sendall(address.token[7:] + struct.pack(">I", 5) + b"%05d" % number)
                async with asyncio.timeout(DEADLINE_S):
                    await server.arrived.wait()
                slow.close()
                wrong.close()
            assert server.frames == [b"%05d" % number for number in range(50)]

    uvloop.run(attack())


# --- a whole system -----------------------------------------------------------------------------


class Heard(Contract):
    n: int


class Hear(Request[Heard]):
    n: int


class Listening(Actor):
    @handler
    async def hear(self, request: Hear) -> Heard:
        return Heard(n=request.n)


@as_root
@pytest.mark.soak
@pytest.mark.ray
async def test_a_system_answers_in_a_flood_on_all_its_sockets() -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    async with start(engine="ray", hosts=1, standbys=0) as system:
        engine = system._engine
        assert isinstance(engine, RayEngine)
        ref = await system.spawn(Listening, host=1)
        mine = await engine.socket_address()
        theirs = [process.address for process in engine._processes]
        addresses = [address for address in (mine, *theirs) if address is not None]
        assert len(addresses) == 2
        with stranger(addresses[0], 10_000_000), stranger(addresses[1], 10_000_000):
            for n in range(2_000):
                assert (await ref.ask(Hear(n=n), timeout_s=DEADLINE_S)).n == n
        counts = system._host.meters.instruments.read().counts
    assert counts[Name("callboard_connections_refused", "other_user")] > 0
