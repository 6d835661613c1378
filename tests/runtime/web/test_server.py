"""The server's start and end, its addresses, and who may listen where."""

import asyncio
import datetime as dt
import ipaddress
import logging
import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from callboard.actors.streaming.protocol import Disconnect
from callboard.messages.core.errors import UsageError
from callboard.runtime.web.page_files import PageFiles
from callboard.runtime.web.settings import WebLimits, WebSettings

from .edge import GOOD, serving
from .raw import RawSocket, ask

BEARER = {"Authorization": f"Bearer {GOOD}"}


@pytest.mark.parametrize("is_hub_first", [False, True])
async def test_fifty_of_each_kind_end_in_order_and_in_time(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], is_hub_first: bool
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        httpx.AsyncClient(headers=BEARER, trust_env=False, limits=httpx.Limits()) as client,
        serving() as served,
    ):
        sockets = await asyncio.gather(*(RawSocket.open(served.port) for _ in range(50)))
        for each in sockets:
            await each.connect(GOOD)
        url = f"{served.url}v1/stream?channel=events"
        requests = [client.build_request("GET", url) for _ in range(50)]
        responses = await asyncio.gather(*(client.send(each, stream=True) for each in requests))
        begun_s = time.monotonic()
        if is_hub_first:
            await served.hub.stop()
        await served.server.stop()
        assert time.monotonic() - begun_s < 2.0
        for each in sockets:
            assert (await each.closed())[0] == Disconnect.SHUTDOWN
        for response in responses:
            last = (await response.aread()).decode().split("event: ")[-1]
            assert last.startswith('end\ndata: {"code":3001,')
    assert "Traceback" not in caplog.text
    assert "Traceback" not in capfd.readouterr().err
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_peer_that_never_reads_does_not_hold_the_end() -> None:
    async with serving() as served:
        stalled = await RawSocket.open(served.port)
        await stalled.connect(GOOD)
        stalled.send_json({"id": 2, "subscribe": {"channel": "room:1"}})
        await stalled.replies()
        stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(200):
            served.publish("room:1", "x" * 60_000)
            await asyncio.sleep(0)
        half = await asyncio.open_connection("127.0.0.1", served.port)
        half[1].write(b"GET / HT")
        begun_s = time.monotonic()
        await served.server.stop()
        assert time.monotonic() - begun_s < 3.0
        half[1].transport.abort()
        stalled.abort()


async def test_it_can_be_stopped_twice_and_frees_its_port() -> None:
    async with serving() as served:
        await served.server.stop()
        await served.server.stop()
        async with serving(WebSettings(port=served.port)) as again:
            assert (await ask(again.port)).status == 200


async def test_a_taken_port_is_an_error_that_says_so() -> None:
    async with serving() as served:
        with pytest.raises(UsageError, match=str(served.port)):
            async with serving(WebSettings(port=served.port)):
                pass


async def test_a_vanished_network_is_noticed_by_the_kernel() -> None:
    async with serving(WebSettings(limits=WebLimits(stalled_s=12.0))) as served:
        client = await RawSocket.open(served.port)
        await client.connect(GOOD)
        [connection] = served.server._server.server_state.connections  # type: ignore[union-attr]
        found = connection.transport.get_extra_info("socket")
        assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_000
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        client.abort()


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", ""])
def test_an_address_that_others_reach_needs_tls_and_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="encrypt"):
        WebSettings(host=host)
    with pytest.raises(UsageError, match="token"):
        WebSettings(host=host, insecure=True, needs_token=False)
    assert WebSettings(host=host, insecure=True).needs_token


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_this_machine_alone_needs_neither(host: str) -> None:
    assert WebSettings(host=host, needs_token=False).is_loopback


def test_half_a_certificate_and_a_strange_prefix_are_errors() -> None:
    with pytest.raises(UsageError):
        WebSettings(certificate=Path("a.pem"))
    for prefix in ("a", "/", "/a/"):
        with pytest.raises(UsageError):
            WebSettings(prefix=prefix)


def test_names_and_pages_have_the_port_unless_it_is_the_default_one() -> None:
    settings = WebSettings(hosts=("Jobs.Example.org",), origins=("https://jobs.example.org",))
    assert "127.0.0.1:8000" in settings.names(8_000)
    assert "127.0.0.1" not in settings.names(8_000)
    assert {"127.0.0.1", "127.0.0.1:80", "jobs.example.org"} <= settings.names(80)
    assert {"http://[::1]:8000", "https://jobs.example.org"} <= settings.pages(8_000)
    assert "https://127.0.0.1:8000" not in settings.pages(8_000)


def test_a_folder_without_a_page_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"index\.html"):
        PageFiles(tmp_path)


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


async def test_it_speaks_tls_with_the_files_of_the_settings(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    settings = WebSettings(host="0.0.0.0", certificate=cert, key=key, hosts=("127.0.0.1:0",))
    assert settings.scheme == "https"
    own = WebSettings(certificate=cert, key=key)
    trusted = ssl.create_default_context(cafile=str(cert))
    async with (
        serving(own) as served,
        httpx.AsyncClient(verify=trusted, trust_env=False) as client,
    ):
        answer = await client.get(f"{served.url}healthz")
        assert answer.json() == {"status": "ok"}
