"""An embedded Ray: on the loopback interface only, and gone with its driver.

`control_plane/test_ends.py` kills drivers.
"""

import asyncio
import ipaddress
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psutil
import pytest
import ray._private.ray_constants

from callboard.runtime.api.start import start
from callboard.runtime.engines.ray.embedded import PROGRAM, on_loopback

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' process descriptors")
DEADLINE_S: Final = 30.0
LISTENERS: Final = (
    "gcs_server", "raylet", "dashboard/dashboard.py", "_private/monitor.py",
    "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::HostActor",
)  # fmt: skip
"""Ray's processes that listen, by a part of their command lines."""


def listeners() -> dict[str, set[str]]:
    """The addresses on which this process and its descendants listen, by their command lines."""
    this = psutil.Process()
    commands = {p.pid: " ".join(p.cmdline()) for p in (this, *this.children(recursive=True))}
    found: dict[str, set[str]] = {}
    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.pid in commands
        if listens and connection.laddr:
            found.setdefault(commands[connection.pid or 0], set()).add(connection.laddr.ip)
    return found


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def missing(found: dict[str, set[str]]) -> list[str]:
    return [name for name in LISTENERS if not any(name in command for command in found)]


async def until_all_listen() -> None:
    """Wait for all listeners; nothing announces them."""
    async with asyncio.timeout(DEADLINE_S):
        while missing(listeners()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)


@pytest.mark.ray
async def test_no_process_of_an_embedded_ray_listens_beyond_this_machine() -> None:
    async with start(engine="ray", hosts=1, standbys=0, dashboard=True):
        await until_all_listen()
        everywhere = {
            command[-120:]: addresses
            for command, addresses in listeners().items()
            if not all(map(is_loopback, addresses))
        }
    assert everywhere == {}


def test_rays_own_switch_is_as_it_was() -> None:
    before = ray._private.ray_constants.ENABLE_RAY_CLUSTER
    with on_loopback() as options:
        assert options == {"_node_ip_address": "127.0.0.1"}
        assert not ray._private.ray_constants.ENABLE_RAY_CLUSTER
    assert ray._private.ray_constants.ENABLE_RAY_CLUSTER is before


# --- the program that ends them -----------------------------------------------------------------


@contextmanager
def sleeping() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def watching(*processes: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """The program, with descriptors of these processes, the driver's first."""
    descriptors = [os.pidfd_open(process.pid) for process in processes]
    command = [sys.executable, "-I", "-S", str(PROGRAM), *map(str, descriptors)]
    with subprocess.Popen(command, pass_fds=descriptors) as process:
        for descriptor in descriptors:
            os.close(descriptor)
        try:
            yield process
        finally:
            process.kill()


def test_the_watch_ends_what_outlives_the_driver() -> None:
    with (
        sleeping() as driver,
        sleeping() as agent,
        sleeping() as ended,
        sleeping() as stranger,
        watching(driver, agent, ended) as watch,
    ):
        ended.kill()
        ended.wait()
        driver.kill()
        assert agent.wait(DEADLINE_S) == -signal.SIGKILL
        assert watch.wait(DEADLINE_S) == 0
        assert stranger.poll() is None


def test_the_watch_kills_nothing_that_ends_by_itself() -> None:
    with sleeping() as driver, sleeping() as agent, watching(driver, agent) as watch:
        driver.kill()
        agent.terminate()
        assert agent.wait(DEADLINE_S) == -signal.SIGTERM
        assert watch.wait(DEADLINE_S) == 0


def test_the_watch_waits_for_the_driver() -> None:
    with sleeping() as driver, sleeping() as agent, watching(driver, agent) as watch:
        descriptor = os.pidfd_open(watch.pid)
        ended, _, _ = select.select([descriptor], [], [], 0.3)
        os.close(descriptor)
        assert ended == []
        assert agent.poll() is None
