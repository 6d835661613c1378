"""Frames over TCP: delivery, fall-back and return, breaks, stalls, ports and TLS."""

import asyncio
import ipaddress
import logging
import pathlib
import secrets
import socket
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import pytest

from callboard.messages.control.spec import Backoff
from callboard.messages.core.limits import Limits
from callboard.runtime.transport import stream_carrier
from callboard.runtime.transport.connections import Refusal
from callboard.runtime.transport.sockets import SocketServer
from callboard.runtime.transport.stream_carrier import StreamFailure
from callboard.runtime.transport.tcp import TLS_FILES, TcpAddress, Tls, bind, ports_of, tls_of

from .tcp_fixture import HERE, Line, Port, port, proxy, until

SIZES: Final = [0, 1, 3, 1_000, 70_000, 300_000, 5_000_000, 2]


@pytest.fixture(autouse=True)
def quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, as far as no test says otherwise."""
    monkeypatch.setattr(stream_carrier, "RECONNECT", Backoff(0.001, 0.01))


async def send(line: Line, frame: bytes) -> None:
    """Send a frame as a link does."""
    if not line.carrier.write(frame):
        await line.carrier.deliver(frame, ())


def has_failed(line: Line, times: int) -> bool:
    return line.failed(StreamFailure.UNREACHABLE) >= times


# --- delivery ---------------------------------------------------------------------------------


async def test_frames_arrive_whole_and_in_order_whatever_their_size() -> None:
    async with port() as (server, address):
        line = Line(address)
        await line.connect()
        sent = [secrets.token_bytes(size) for size in SIZES]
        for frame in sent:
            await send(line, frame)
        await until(lambda: len(server.frames) == len(sent))
        assert server.frames == sent
        assert line.fallback.frames == [b"first"]
        line.carrier.close()


async def test_no_frame_takes_the_room_of_one_that_has_waited_longer() -> None:
    """Later ones overtook one again and again, and the peer refused what was far ahead of it."""
    async with port() as (server, address):
        line = Line(address)
        await line.connect()
        stream = line.carrier._stream
        assert stream is not None
        stream.pause_writing()
        waiting = [asyncio.create_task(line.carrier.deliver(b"%d" % n, ())) for n in range(3)]
        await until(lambda: line.carrier._waiting == len(waiting))
        stream.resume_writing()
        assert not line.carrier.write(b"3")
        await line.carrier.deliver(b"3", ())
        await asyncio.gather(*waiting)
        await until(lambda: len(server.frames) == 4)
        assert server.frames == [b"0", b"1", b"2", b"3"]
        line.carrier.close()


async def test_a_node_may_have_an_address_of_version_6() -> None:
    server = Port()
    try:
        address = server.open_port("::1", range(1), None)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    line = Line(address)
    await line.connect()
    await send(line, b"frame")
    await until(lambda: server.frames == [b"frame"])
    line.carrier.close()
    await server.stop()


async def test_nobody_waits_for_the_connection() -> None:
    """A silent listener (a firewall, a stopped process) delays no frame."""
    silent = bind(HERE, range(1))
    line = Line(TcpAddress(HERE, silent.getsockname()[1], b"t" * 32, is_encrypted=False))
    for number in range(3):
        answer = await line.carrier.deliver(b"%d" % number, ())
        assert answer == (b"by the other way", ())
    assert not line.carrier.is_stream
    assert not line.carrier.write(b"no")
    line.carrier.close()
    silent.close()


async def test_a_frame_with_references_goes_by_ray() -> None:
    async with port() as (server, address):
        line = Line(address)
        await line.connect()
        await line.carrier.deliver(b"with references", [object()])
        assert line.fallback.frames == [b"first", b"with references"]
        assert server.frames == []
        line.carrier.close()


async def test_a_connection_sends_small_frames_at_once() -> None:
    async with port() as (_, address):
        line = Line(address)
        await line.connect()
        stream: Any = line.carrier._stream
        raw = stream.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        line.carrier.close()


# --- fall-back and return -----------------------------------------------------------------------


async def test_what_cannot_be_reached_is_replaced_tried_again_and_found_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with port() as (server, address):
        closed = bind(HERE, range(1))
        line = Line(address._replace(port=closed.getsockname()[1]))
        closed.close()
        for number in range(3):
            await send(line, b"%d" % number)
            await until(partial(has_failed, line, number + 1))
        assert (line.way("tcp"), line.way("calls")) == (0, 1)
        text = [r.getMessage() for r in caplog.records if "replace a TCP connection" in r.message]
        assert len(text) == 1, "one line, however often it fails"
        line.address = address
        await line.connect()
        assert (line.way("tcp"), line.way("calls")) == (1, 0)
        await send(line, b"back")
        await until(lambda: server.frames == [b"back"])
        assert line.fallback.frames == [b"0", b"1", b"2", b"first"]
        line.carrier.close()
        assert (line.way("tcp"), line.way("calls")) == (0, 0)


async def test_attempts_follow_the_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_carrier, "RECONNECT", Backoff(50.0, 60.0))
    line = Line(None)
    for _ in range(100):
        await send(line, b"frame")
        await asyncio.sleep(0)
    assert line.asked == 1
    assert len(line.fallback.frames) == 100
    line.carrier.close()


async def test_a_broken_connection_comes_back_without_a_frame() -> None:
    """So the metric says how the next frame will go."""
    async with port() as (_, address), proxy(address) as (between, through):
        line = Line(through)
        await line.connect()
        between.cut()
        await until(lambda: line.breaks == 1)
        await until(lambda: line.way("tcp") == 1)
        assert line.fallback.frames == [b"first"]
        line.carrier.close()


async def test_a_peer_without_a_port_is_no_failure() -> None:
    line = Line(None)
    await send(line, b"frame")
    await until(lambda: line.asked > 2)
    assert line.streams.reading().counts == {}
    assert line.way("calls") == 0
    line.carrier.close()


async def test_a_connection_that_breaks_in_the_middle_says_so_and_comes_back() -> None:
    async with port() as (server, address), proxy(address) as (between, through):
        line = Line(through)
        await line.connect()
        between.goes_on.clear()
        await send(line, b"lost on its way")
        between.cut()
        between.goes_on.set()
        await until(lambda: line.breaks == 1)
        assert not line.carrier.is_stream
        assert line.failed(StreamFailure.BROKEN) == 1
        await line.connect()
        await send(line, b"back")
        await until(lambda: b"back" in server.frames)
        line.carrier.close()
        await until(lambda: not server.connections)
        assert line.breaks == 1, "a link that closes its carrier needs no word of it"


async def test_a_peer_that_ends_is_noticed_and_frames_go_the_other_way() -> None:
    async with port() as (_, address):
        line = Line(address)
        await line.connect()
    await until(lambda: line.breaks == 1)
    await send(line, b"after")
    assert line.fallback.frames[-1] == b"after"
    line.carrier.close()


async def test_a_stalled_peer_holds_no_frame_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_carrier, "WRITE_TIMEOUT_S", 0.2)
    async with port() as (_, address), proxy(address) as (between, through):
        line = Line(through)
        await line.connect()
        between.goes_on.clear()
        frames = (line.carrier.deliver(b"\0" * 1_000_000, ()) for _ in range(64))
        answers = await asyncio.gather(*frames)
        written = answers.count((b"", ()))
        assert written < 32, "its buffer, and those of the kernel"
        assert len(line.fallback.frames) == 1 + 64 - written
        assert line.failed(StreamFailure.STALLED) == 1
        assert line.breaks == 1
        between.goes_on.set()
        line.carrier.close()


# --- proofs -------------------------------------------------------------------------------------


async def test_a_listener_without_the_token_gets_no_frame() -> None:
    async with port() as (server, address):
        line = Line(address._replace(token=b"another token of thirty-two byte"))
        await send(line, b"secret")
        await until(lambda: line.way("calls") == 1)
        assert server.frames == []
        assert line.fallback.frames == [b"secret"]
        line.carrier.close()


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4, b"\0" * 500])
async def test_a_stranger_that_listens_is_named_and_gets_no_frame(greeting: bytes) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HERE, 0)
    line = Line(TcpAddress(HERE, server.sockets[0].getsockname()[1], b"t" * 32, is_encrypted=False))
    await send(line, b"secret")
    await until(lambda: line.failed(StreamFailure.UNPROVEN) == 1)
    line.carrier.close()
    server.close()


async def test_the_token_does_not_travel() -> None:
    async with port() as (server, address), proxy(address) as (between, through):
        line = Line(through)
        await line.connect()
        await send(line, b"frame")
        await until(lambda: server.frames == [b"frame"])
        assert address.token not in between.heard
        assert b"frame" in between.heard, "without TLS frames can be read on their way"
        line.carrier.close()


# --- ports --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("any", range(1)),
        ("off", None),
        ("11000", range(11_000, 11_001)),
        ("11000-11002", range(11_000, 11_003)),
    ],
)
def test_ports_are_read(text: str, ports: range | None) -> None:
    assert ports_of(text) == ports


@pytest.mark.parametrize("text", ["", "0", "-1", "1-", "2-1", "1-65536", "a-b", "1-2-3", "\u0661"])
def test_other_texts_name_no_ports(text: str) -> None:
    with pytest.raises(ValueError, match="names no ports"):
        ports_of(text)


async def test_a_port_of_the_range_that_is_taken_is_left_to_its_owner() -> None:
    server = SocketServer(lambda _: None, Limits())
    with bind(HERE, range(1)) as owner:
        number = owner.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            server.open_port(HERE, range(number, number + 1), None)
    assert server.open_port(HERE, range(number, number + 1), None).port == number
    await server.stop()


async def test_a_server_has_no_port_until_it_is_asked_for_one() -> None:
    server = SocketServer(lambda _: None, Limits())
    await server.start("node")
    (listener,) = server._listeners
    assert listener._socket is not None
    assert not isinstance(listener._socket.getsockname(), tuple), "a Unix socket"
    await server.stop()


# --- TLS ----------------------------------------------------------------------------------------


def certificates(folder: pathlib.Path, name: str = HERE) -> dict[str, str]:
    """Ray's variables for TLS, with a fresh authority and a certificate for this address."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography makes the certificates")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(exist_ok=True)
    now = datetime.now(UTC)

    def made(common: str, issuer: Any, signed_by: Any, *, is_authority: bool) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if not is_authority:
            address = x509.IPAddress(ipaddress.ip_address(name))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return key, builder.sign(key if signed_by is None else signed_by, hashes.SHA256())

    authority_key, authority = made("authority", None, None, is_authority=True)
    key, certificate = made("node", authority.subject, authority_key, is_authority=False)
    pem = serialization.Encoding.PEM
    paths = [folder / each for each in ("node.crt", "node.key", "ca.crt")]
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    paths[2].write_bytes(authority.public_bytes(pem))
    return {"RAY_USE_TLS": "1", **dict(zip(TLS_FILES, map(str, paths), strict=True))}


async def test_with_rays_tls_frames_cannot_be_read_on_their_way(tmp_path: pathlib.Path) -> None:
    tls = tls_of(certificates(tmp_path))
    async with port(tls=tls) as (server, address), proxy(address) as (between, through):
        assert address.is_encrypted
        line = Line(through, tls)
        await line.connect()
        sent = [b"a frame that nobody may read", *map(secrets.token_bytes, SIZES)]
        for frame in sent:
            await send(line, frame)
        await until(lambda: len(server.frames) == len(sent))
        assert server.frames == sent
        assert sent[0] not in between.heard
        line.carrier.close()


def test_tls_on_the_other_event_loop(tmp_path: pathlib.Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    tls = tls_of(certificates(tmp_path))

    async def exchange() -> None:
        async with port(tls=tls) as (server, address):
            line = Line(address, tls)
            await line.connect()
            sent = [secrets.token_bytes(size) for size in SIZES]
            for frame in sent:
                await send(line, frame)
            await until(lambda: server.frames == sent)
            line.carrier.close()

    uvloop.run(exchange())


async def test_a_peer_with_a_certificate_of_another_authority_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    """It knows the token, and its certificate is not the cluster's: both sides refuse."""
    tls, other = (tls_of(certificates(tmp_path / name)) for name in ("ours", "theirs"))
    async with port(tls=tls) as (server, address):
        line = Line(address, other)
        await send(line, b"secret")
        await until(lambda: line.way("calls") == 1)
        assert server.frames == []
        line.carrier.close()
        await until(lambda: server.refused(Refusal.INVALID) == 1)


async def test_a_peer_without_a_certificate_is_refused(tmp_path: pathlib.Path) -> None:
    tls = tls_of(certificates(tmp_path))
    assert tls is not None
    bare = Tls(tls.listener, bare_context())
    async with port(tls=tls) as (server, address):
        line = Line(address, bare)
        await send(line, b"secret")
        await until(lambda: server.refused(Refusal.INVALID) == 1)
        assert server.frames == []
        line.carrier.close()


def bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_a_certificate_for_another_address_is_refused(tmp_path: pathlib.Path) -> None:
    tls = tls_of(certificates(tmp_path, name="192.0.2.1"))
    async with port(tls=tls) as (server, address):
        line = Line(address, tls)
        await send(line, b"secret")
        await until(lambda: line.way("calls") == 1)
        assert server.frames == []
        line.carrier.close()


@pytest.mark.parametrize("encrypts", [False, True])
async def test_one_side_alone_with_tls_sends_no_frame(
    tmp_path: pathlib.Path, encrypts: bool
) -> None:
    tls = tls_of(certificates(tmp_path))
    async with port(tls=tls if encrypts else None) as (server, address):
        line = Line(address, None if encrypts else tls)
        await send(line, b"secret")
        await until(lambda: line.failed(StreamFailure.UNREACHABLE) == 1)
        assert server.frames == []
        assert server.connections == set()
        line.carrier.close()


def test_tls_is_off_where_ray_does_not_use_it() -> None:
    assert tls_of({}) is None
    assert tls_of({"RAY_USE_TLS": "0", "RAY_TLS_CA_CERT": "there"}) is None


def test_tls_with_files_that_are_missing_is_an_error_and_not_plain(tmp_path: pathlib.Path) -> None:
    with pytest.raises(OSError, match="RAY_TLS_SERVER_KEY"):
        tls_of({"RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": "x"})
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(OSError, match=r".*"):
        tls_of({"RAY_USE_TLS": "true", **dict.fromkeys(TLS_FILES, str(empty))})
