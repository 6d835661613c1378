"""Strangers at a port: refused, counted, bounded, and no burden for others."""

import asyncio
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.core.limits import Limits
from callboard.runtime.transport import connections
from callboard.runtime.transport.connections import Refusal
from callboard.runtime.transport.handshake import (
    ANSWER_BYTES,
    GREETING_BYTES,
    MAGIC,
    NUMBER_BYTES,
    PROOF_BYTES,
    Challenge,
    Response,
)
from callboard.runtime.transport.tcp import TcpAddress
from tests.thoroughness import examples

from .tcp_fixture import Line, Port, connected, exactly, is_closed, port, proxy, until

LENGTH: Final = struct.Struct(">I")


async def admitted(address: TcpAddress) -> socket.socket:
    """A connection whose proofs are exchanged."""
    connection = connected(address)
    response = Response(address.token, secrets.token_bytes(NUMBER_BYTES))
    connection.sendall(response.answer(await exactly(connection, GREETING_BYTES)))
    assert response.is_right(await exactly(connection, PROOF_BYTES))
    return connection


async def takes(server: Port, frame: bytes, address: TcpAddress) -> None:
    """A peer with the token gets a frame through."""
    line = Line(address)
    await line.connect()
    await line.carrier.deliver(frame, ())
    await until(lambda: frame in server.frames)
    line.carrier.close()


# --- before the proof ---------------------------------------------------------------------------


async def test_silence_and_slow_bytes_end_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TOKEN_TIMEOUT_S", 0.1)
    async with port() as (server, address):
        silent, slow = connected(address), connected(address)
        with suppress(OSError):
            for _ in range(ANSWER_BYTES - 1):
                slow.sendall(b"x")
                await asyncio.sleep(0)
        assert await is_closed(silent)
        assert await is_closed(slow)
        assert server.refused(Refusal.NO_TOKEN) == 2
        assert server.connections == set()
        silent.close()
        slow.close()


async def test_a_proof_in_pieces_is_taken_with_the_frame_behind_it() -> None:
    async with port() as (server, address):
        connection = connected(address)
        response = Response(address.token, secrets.token_bytes(NUMBER_BYTES))
        answer = response.answer(await exactly(connection, GREETING_BYTES))
        for byte in answer + LENGTH.pack(5) + b"frame":
            connection.sendall(bytes([byte]))
            await asyncio.sleep(0)
        await until(lambda: server.frames == [b"frame"])
        connection.close()


async def test_the_token_itself_is_no_proof() -> None:
    async with port() as (server, address):
        connection = connected(address)
        connection.sendall(address.token * 3)
        assert await is_closed(connection)
        assert server.refused(Refusal.WRONG_TOKEN) == 1
        connection.close()


async def test_a_recorded_connection_is_worth_nothing() -> None:
    async with port() as (server, address), proxy(address) as (between, through):
        await takes(server, b"heard by a stranger", through)
        replay = connected(address)
        replay.sendall(bytes(between.heard))
        assert await is_closed(replay)
        assert server.refused(Refusal.WRONG_TOKEN) == 1
        assert server.frames == [b"heard by a stranger"]
        replay.close()


async def test_a_challenge_sent_back_is_worth_nothing() -> None:
    """A stranger sends the listener its own number, and its own proof to another connection."""
    async with port() as (server, address):
        reflected = connected(address)
        greeting = await exactly(reflected, GREETING_BYTES)
        reflected.sendall(greeting + greeting[: ANSWER_BYTES - GREETING_BYTES])
        assert await is_closed(reflected)
        known = Challenge(address.token, greeting[len(MAGIC) :])
        known.take(MAGIC + bytes(NUMBER_BYTES + PROOF_BYTES))
        other = connected(address)
        await exactly(other, GREETING_BYTES)
        other.sendall(MAGIC + bytes(NUMBER_BYTES) + known.proof)
        assert await is_closed(other)
        assert server.refused(Refusal.WRONG_TOKEN) == 2
        reflected.close()
        other.close()


# --- after the proof ----------------------------------------------------------------------------


async def test_a_huge_length_closes_the_connection_unread() -> None:
    async with port(Limits(frame_bytes_max=1_000)) as (server, address):
        connection = await admitted(address)
        connection.sendall(LENGTH.pack(2**32 - 1) + b"x" * 100)
        assert await is_closed(connection)
        assert server.refused(Refusal.INVALID) == 1
        await takes(server, b"mine", address)
        connection.close()


async def test_bytes_that_are_no_frame_close_that_connection_only() -> None:
    async with port() as (server, address):
        connection, other = await admitted(address), await admitted(address)
        connection.sendall(LENGTH.pack(3) + b"bad")
        assert await is_closed(connection)
        other.sendall(LENGTH.pack(5) + b"other")
        await until(lambda: server.frames == [b"other"])
        connection.close()
        other.close()


HOSTILE: Final = st.binary(max_size=200) | st.binary(min_size=ANSWER_BYTES, max_size=ANSWER_BYTES)


@settings(max_examples=examples(100))
@given(st.lists(HOSTILE, max_size=3), st.lists(st.binary(max_size=80), max_size=3))
def test_any_bytes_are_refused_and_harm_nobody(before: list[bytes], after: list[bytes]) -> None:
    async def attack() -> None:
        async with port() as (server, address):
            strangers = [connected(address) for _ in before]
            for connection, noise in zip(strangers, before, strict=True):
                connection.sendall(noise)
                connection.shutdown(socket.SHUT_WR)
            insiders = [await admitted(address) for _ in after]
            for connection, noise in zip(insiders, after, strict=True):
                connection.sendall(noise)
            await takes(server, b"mine", address)
            for connection in strangers:
                assert await is_closed(connection)
            for connection in (*strangers, *insiders):
                connection.close()

    asyncio.run(attack())


# --- floods -------------------------------------------------------------------------------------


async def test_the_oldest_silent_connections_make_room_for_a_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "UNPROVEN_MAX", 4)
    async with port() as (server, address):
        silent = [connected(address) for _ in range(10)]
        await until(lambda: server.refused(Refusal.TOO_MANY) == 6)
        assert [await is_closed(each) for each in silent[:6]] == [True] * 6
        await takes(server, b"mine", address)
        for each in silent:
            each.close()


@contextmanager
def flood(address: TcpAddress, data: bytes) -> Iterator[None]:
    """A thread that connects, sends bytes and waits for its refusal, again and again."""
    is_over = threading.Event()

    def attack() -> None:
        while not is_over.is_set():
            with suppress(OSError), connected(address) as connection:
                connection.settimeout(1.0)
                connection.sendall(data)
                while connection.recv(4096):
                    pass

    threads = [threading.Thread(target=attack) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


async def test_wrong_proofs_in_a_flood_leave_the_loop_to_others() -> None:
    """Each is refused after its batch was accepted; the listener rests all the same."""
    async with port() as (server, address):
        with flood(address, b"w" * ANSWER_BYTES):
            await until(lambda: server.refused(Refusal.WRONG_TOKEN) > 50)
            began, before = time.monotonic(), server.refused(Refusal.WRONG_TOKEN)
            count = 20 * connections.ACCEPTS_MAX
            await until(lambda: server.refused(Refusal.WRONG_TOKEN) >= before + count)
            took_s = time.monotonic() - began
        assert took_s > 9 * connections.REST_S


async def test_a_peer_gets_through_in_the_middle_of_a_flood() -> None:
    async with port() as (server, address):
        with flood(address, b"w" * ANSWER_BYTES):
            await until(lambda: server.refused(Refusal.WRONG_TOKEN) > 50)
            for number in range(5):
                await takes(server, b"%d" % number, address)
        assert server.connections == set() or len(server.connections) <= 5


# --- the other event loop -----------------------------------------------------------------------


def test_uvloop_takes_connections_over_after_their_proof() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def attack() -> None:
        async with port() as (server, address):
            for number in range(30):
                wrong = connected(address)
                wrong.sendall(b"w" * ANSWER_BYTES)
                await takes(server, b"%05d" % number, address)
                assert await is_closed(wrong)
                wrong.close()

    uvloop.run(attack())
