"""Hosts of one node: one serves, another takes over when it dies, and no counter goes back."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.runtime.telemetry.exposition.exporter import Exporter
from callboard.runtime.telemetry.exposition.figures import HostFigures
from callboard.runtime.telemetry.exposition.http import CONNECTIONS_MAX, parse
from callboard.runtime.telemetry.exposition.member import NodeMember
from callboard.runtime.telemetry.exposition.place import Place
from callboard.runtime.transport.tcp import ports_of
from tests.runtime.telemetry.exposition.pages import Shown, page, until, until_so
from tests.thoroughness import examples

HANDLED = "callboard_messages_handled"
ANY_PORT = range(1)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "metrics", "shown-1", "shown")


def member(place: Place, host: str, ports: range = ANY_PORT) -> NodeMember:
    return NodeMember(
        place,
        HostFigures(),
        system="shown",
        host=host,
        address="127.0.0.1",
        ports=ports,
        is_driver=host == "driver",
    )


def serving(members: list[NodeMember]) -> list[NodeMember]:
    return [each for each in members if each.is_serving]


@contextlib.asynccontextmanager
async def taking_part(*members: NodeMember) -> AsyncIterator[list["asyncio.Task[None]"]]:
    tasks = [asyncio.create_task(each.run()) for each in members]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_endpoint_shows_all_hosts_of_a_node(place: Place) -> None:
    hosts = [member(place, f"host-{n}") for n in (1, 2, 3)]
    async with taking_part(*hosts):
        for number, host in enumerate(hosts, 1):
            host.figures.count(HANDLED, float(number))
            host.figures.gauge("callboard_actors", 10.0 * number)
            host.figures.record(SeriesKey(MetricKind.COUNTER, "mine_total"), (0.5,))
        shown = await until(place, lambda shown: (f"{HANDLED}_total", "host-3") in shown)
        shown = await until(place, lambda s: s["callboard_exposition_hosts", ""] == 3.0)
        for number in (1, 2, 3):
            assert shown[f"{HANDLED}_total", f"host-{number}"] == number
            assert shown["callboard_actors", f"host-{number}"] == 10.0 * number
            assert shown["mine_total", f"host-{number}"] == 0.5
            assert shown["callboard_exposition_report_age_seconds", f"host-{number}"] < 10.0
        assert shown["callboard_node_cpus", ""] == os.cpu_count()
        assert sum(host.is_serving for host in hosts) == 1
        hosts[0].figures.count(HANDLED, 7.0)
        await until(place, lambda shown: shown[f"{HANDLED}_total", "host-1"] == 8.0)
    assert not list(place.socket.parent.glob("*")), "the last host removes the files"


async def test_a_driver_serves_only_until_a_host_does(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.runtime.telemetry.exposition.member.PATIENCE_S", 0.2)
    driver, host = member(place, "driver"), member(place, "host-1")
    driver.figures.count(HANDLED, 3.0)
    async with taking_part(driver):
        await until(place, lambda s: s["callboard_exposition_hosts", ""] == 1.0)
        assert serving([driver, host]) == [driver]
        target = place.target()
        async with taking_part(host):
            await until(
                place, lambda s: host.is_serving and s["callboard_exposition_hosts", ""] == 2.0
            )
            assert serving([driver, host]) == [host]
            shown = await page(place)
            assert shown[f"{HANDLED}_total", "driver"] == 3.0
            assert place.target() == target


async def test_another_host_serves_on_the_same_port_when_one_stops(place: Place) -> None:
    one, other = member(place, "host-1"), member(place, "host-2")
    one.figures.count(HANDLED, 5.0)
    async with taking_part(one, other) as tasks:
        await until(place, lambda s: s["callboard_exposition_hosts", ""] == 2.0)
        target = place.target()
        serving = 0 if one.is_serving else 1
        tasks[serving].cancel()
        await asyncio.gather(tasks[serving], return_exceptions=True)
        shown = await until(place, lambda s: s["callboard_exposition_hosts", ""] == 1.0)
        assert place.target() == target
        if serving == 0:
            assert shown[f"{HANDLED}_total", "host-1"] == 5.0


HOST = """
import asyncio, pathlib, sys
from callboard.runtime.telemetry.exposition.figures import HostFigures
from callboard.runtime.telemetry.exposition.member import NodeMember
from callboard.runtime.telemetry.exposition.place import Place

async def main():
    place = Place(pathlib.Path(sys.argv[1]), "shown-1", "shown")
    host = NodeMember(
        place, HostFigures(), system="shown", host=sys.argv[2], address="127.0.0.1", ports=range(1)
    )
    host.figures.count("callboard_messages_handled", 100.0)
    await host.run()

asyncio.run(main())
"""


async def test_a_killed_server_is_replaced_and_no_counter_goes_back(place: Place) -> None:
    """Six times in a row, a process is killed with -9 while it serves, and starts again."""
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(name: str) -> None:
        command = [sys.executable, "-c", HOST, str(place.socket.parent), name]
        processes[name] = subprocess.Popen(command)

    seen: Shown = {}

    def grows(shown: Shown) -> bool:
        for key, value in shown.items():
            if key[0].endswith("_total"):
                assert value >= seen.get(key, 0.0), key
                seen[key] = value
        return True

    try:
        place.socket.parent.mkdir()
        for name in ("host-1", "host-2"):
            start(name)
        wanted = {"host-1": 100.0, "host-2": 100.0}

        def has_all(shown: Shown) -> bool:
            values = {host: shown.get((f"{HANDLED}_total", host), 0.0) for host in wanted}
            assert all(values[host] <= wanted[host] for host in wanted)
            return grows(shown) and values == wanted

        await until(place, has_all)
        target = place.target()
        for _ in range(6):
            server = place.server()
            (name,) = [name for name, process in processes.items() if process.pid == server]
            os.kill(server, signal.SIGKILL)
            processes[name].wait()
            wanted[name] += 100.0
            start(name)
            await until(place, has_all)
            assert place.server() != server
            assert place.target() == target
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


async def test_two_systems_of_one_name_have_two_endpoints(tmp_path: Path) -> None:
    places = [Place(tmp_path, f"same-{n}", "same") for n in (1, 2)]
    hosts = [member(place, "host-1", ports_of("any") or ANY_PORT) for place in places]
    for number, host in enumerate(hosts, 1):
        host.figures.count(HANDLED, float(number))
    async with taking_part(*hosts):
        for number, place in enumerate(places, 1):
            shown = await until(place, lambda s: (f"{HANDLED}_total", "host-1") in s)
            assert shown[f"{HANDLED}_total", "host-1"] == number
        assert places[0].target() != places[1].target()
    assert Place.of("a/b", "x").socket != Place.of("a/b", "y").socket


async def test_a_taken_port_is_left_alone(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        exporter = Exporter(
            place, place.lock() or 0, "shown", "token", "127.0.0.1", range(port, port + 1)
        )
        exporter.start()
        exporter.stop()
        assert exporter.is_over
        assert exporter.has_failed
        assert "metrics_ports" in caplog.text
        host = member(place, "host-1", range(port, port + 3))
        async with taking_part(host):
            await until(place, lambda s: True)
            assert (place.target() or ("", 0))[1] in {port + 1, port + 2}


async def test_a_port_that_is_not_free_is_reported_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        hosts = [member(place, f"host-{n}", range(port, port + 1)) for n in (1, 2)]
        async with taking_part(*hosts):
            await until_so(lambda: all(each._not_before_s for each in hosts))
    assert len(caplog.records) == 2, "once for each host"


async def test_a_folder_that_others_can_enter_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = Place.of("shown", "group")
    place.socket.parent.mkdir(parents=True)
    place.socket.parent.parent.chmod(0o755)
    async with taking_part(member(place, "host-1")):
        await until_so(lambda: "other users can enter" in caplog.text)
    assert not list(place.socket.parent.iterdir())


def test_an_address_of_all_is_announced_as_loopback(place: Place) -> None:
    lock = place.lock()
    assert lock is not None
    for address, wanted in (("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")):
        place.announce(address, 9464)
        assert place.target() == (wanted, 9464)
    os.close(lock)


async def test_a_report_that_is_none_ends_its_connection_only(place: Place) -> None:
    host = member(place, "host-1")
    async with taking_part(host):
        await until(place, lambda s: s["callboard_exposition_hosts", ""] == 1.0)
        for data in (b"\xff\xff\xff\xff", b"\0\0\0\x03abc", b"\0\0\0\x01", b""):
            reader, writer = await asyncio.open_unix_connection(str(place.socket))
            writer.write(data)
            writer.write_eof()
            async with asyncio.timeout(10.0):
                assert not await reader.read()
            writer.close()
        await until(place, lambda s: s["callboard_exposition_hosts", ""] == 1.0)


def test_files_of_killed_systems_are_removed(tmp_path: Path) -> None:
    old, own = Place(tmp_path, "old-1"), Place(tmp_path, "own-1")
    for each in (old, own):
        descriptor = each.lock()
        assert descriptor is not None
        assert each.lock() is None
        each.save(b"x")
        each.announce("127.0.0.1", 1)
        os.close(descriptor)
    for path in tmp_path.glob("old-*"):
        os.utime(path, (0, 0))
    own.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "own-1.json",
        "own-1.lock",
        "own-1.state",
    ]
    assert json.loads((tmp_path / "own-1.json").read_text())[0]["targets"] == ["127.0.0.1:1"]


# --- scrapers that are slow, broken or hostile ------------------------------------------------


async def answer_to(place: Place, data: bytes, *, ends: bool = True) -> bytes:
    host, port = place.target() or ("", 0)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        with contextlib.suppress(OSError):
            writer.write(data)
            if ends:
                writer.write_eof()
        async with asyncio.timeout(15.0):
            with contextlib.suppress(OSError):
                return await reader.read()
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics HTTP/1.1", b"200"),
        (b"GET /metrics?name[]=x HTTP/1.1", b"200"),
        (b"HEAD /metrics HTTP/1.1", b"200"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /../etc/passwd HTTP/1.1", b"404"),
        (b"GET /metrics HTTP/2.0", b"400"),
        (b"GET http://elsewhere/ HTTP/1.1", b"400"),
        (b"\x16\x03\x01", b"400"),
    ],
)
async def test_requests_have_their_answers(
    place: Place, request_line: bytes, status: bytes
) -> None:
    async with taking_part(member(place, "host-1")):
        await until(place, lambda s: True)
        answer = await answer_to(place, request_line + b"\r\nHost: x\r\n\r\n")
        assert answer.split(b" ")[1] == status
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Connection: close" in head
        assert bool(body) == (not request_line.startswith(b"HEAD"))


async def test_a_request_without_an_end_is_refused(place: Place) -> None:
    async with taking_part(member(place, "host-1")):
        await until(place, lambda s: True)
        answer = await answer_to(place, b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 70_000)
        assert answer == b"" or b" 431 " in answer
        assert await answer_to(place, b"GET /metr") == b""
        await until(place, lambda s: s.get(("callboard_exposition_refused_total", ""), 0) >= 2)


async def test_idle_connections_are_bounded_and_closed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.runtime.telemetry.exposition.http.REQUEST_TIMEOUT_S", 1.0)
    async with taking_part(member(place, "host-1")):
        await until(place, lambda s: True)
        host, port = place.target() or ("", 0)
        idle = [await asyncio.open_connection(host, port) for _ in range(CONNECTIONS_MAX)]
        answer = await answer_to(place, b"GET /metrics HTTP/1.1\r\n\r\n", ends=False)
        assert answer == b"" or b" 503 " in answer
        for reader, writer in idle:
            async with asyncio.timeout(15.0):
                assert await reader.read() == b""
            writer.close()
        assert await page(place)


@given(st.binary(max_size=300))
@settings(max_examples=examples(200))
def test_any_head_is_a_request_or_none(data: bytes) -> None:
    found = parse(b"GET /metrics HTTP/1.1\r\n" + data)
    assert found is None or found.path == "/metrics"
    parse(data)


async def test_any_bytes_leave_the_endpoint_as_it_is(place: Place) -> None:
    import random

    draw = random.Random(7)
    async with taking_part(member(place, "host-1")):
        await until(place, lambda s: True)
        whole = b"GET /metrics HTTP/1.1\r\nAccept: text/plain\r\nAccept-Encoding: gzip\r\n\r\n"
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(draw.randint(1, 6)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            await answer_to(place, bytes(data[: draw.randint(0, len(data))]))
        assert await page(place)
