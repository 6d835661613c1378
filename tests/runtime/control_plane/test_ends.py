"""After every end nothing is left: no process, no shared-memory file.

Each case is a driver of its own in a process of its own, because how a driver ends is
the point.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

GONE_WITHIN_S = 10.0

ACTORS = """
import asyncio, json, os, signal, sys
import psutil
from callboard import Actor, Agent, CallboardError, Contract, Request, handler, run, start

class Reply(Contract):
    text: str

class Where(Request[Reply]):
    pass

class Sleepy(Agent):
    @handler
    async def where(self, request: Where) -> Reply:
        import ray
        return Reply(text=ray.get_runtime_context().get_node_id())

class Hangs(Actor):
    @handler
    async def where(self, request: Where) -> Reply:
        await asyncio.sleep(3600)
        return Reply(text="")

def say(**values):
    print(json.dumps(values), flush=True)

def processes():
    return [process.pid for process in psutil.Process().children(recursive=True)]
"""


class Driver:
    """One driver script, under way."""

    def __init__(self, folder: pathlib.Path, text: str) -> None:
        path = folder / "driver.py"
        path.write_text(ACTORS + textwrap.dedent(text), encoding="utf-8")
        self.errors = folder / "errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def hear(self) -> dict[str, Any]:
        """The next line of the driver's output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                said: dict[str, Any] = json.loads(line)
                return said
        raise AssertionError(f"it ended: {self.errors.read_text()[-2_000:]}")

    def end(self) -> int:
        """Its exit code."""
        self.process.communicate(timeout=60.0)
        return self.process.returncode


@pytest.fixture
def shared_memory() -> Iterator[None]:
    """Fail a test that leaves files in shared memory."""
    before = shared_files()
    yield
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while (left := shared_files() - before) and time.monotonic() < deadline_s:
        os.sched_yield()
    assert not left


def shared_files() -> set[str]:
    folder = pathlib.Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def gone(pids: list[int]) -> None:
    """Wait until none of these processes is left."""
    processes = []
    for pid in pids:
        try:
            processes.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=GONE_WITHIN_S)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.soak
@pytest.mark.usefixtures("shared_memory")
def test_ordered_end_leaves_nothing(tmp_path: pathlib.Path) -> None:
    driver = Driver(
        tmp_path,
        """
        async def main(system):
            ref = await system.spawn(Sleepy)
            await ref.ask(Where())
            say(pids=processes())

        run(main, hosts=2)
        """,
    )
    pids = driver.hear()["pids"]
    assert len(pids) >= 3
    assert driver.end() == 0
    gone(pids)


@pytest.mark.usefixtures("shared_memory")
def test_killed_driver_leaves_nothing(tmp_path: pathlib.Path) -> None:
    driver = Driver(
        tmp_path,
        """
        async def main(system):
            ref = await system.spawn(Sleepy)
            await ref.ask(Where())
            say(pids=processes())
            await asyncio.sleep(3600)

        run(main, hosts=2)
        """,
    )
    pids = driver.hear()["pids"]
    driver.process.kill()
    driver.end()
    gone(pids)


@pytest.mark.soak
@pytest.mark.usefixtures("shared_memory")
def test_ctrl_c_stops_everything_though_handlers_hang(tmp_path: pathlib.Path) -> None:
    driver = Driver(
        tmp_path,
        """
        async def main(system):
            ref = await system.spawn(Hangs)
            ask = asyncio.ensure_future(ref.ask(Where(), timeout_s=3600.0))
            await (await system.spawn(Sleepy)).ask(Where())
            say(pids=processes())
            await ask

        try:
            run(main, hosts=2)
        except KeyboardInterrupt:
            sys.exit(130)
        """,
    )
    pids = driver.hear()["pids"]
    began_s = time.monotonic()
    driver.process.send_signal(signal.SIGINT)
    assert driver.end() == 130
    assert time.monotonic() - began_s < 8.0, "5 s, and what a loaded machine adds"
    gone(pids)


@pytest.mark.soak
@pytest.mark.usefixtures("shared_memory")
def test_exception_in_the_driver_comes_out_and_leaves_nothing(tmp_path: pathlib.Path) -> None:
    driver = Driver(
        tmp_path,
        """
        async def main(system):
            await (await system.spawn(Sleepy)).ask(Where())
            say(pids=processes())
            raise ValueError("mine")

        run(main, hosts=1)
        """,
    )
    pids = driver.hear()["pids"]
    assert driver.end() == 1
    assert "ValueError: mine" in driver.errors.read_text()
    gone(pids)


@pytest.mark.soak
@pytest.mark.usefixtures("shared_memory")
def test_two_nodes_share_the_hosts_and_the_system_survives_a_lost_node(
    tmp_path: pathlib.Path,
) -> None:
    """On one machine, with Ray's own test cluster: hosts on both nodes, and one removed."""
    driver = Driver(
        tmp_path,
        """
        os.environ["RAY_AUTH_MODE"] = "disabled"
        from ray.cluster_utils import Cluster

        async def where(refs):
            nodes = []
            for ref in refs:
                while True:
                    try:
                        nodes.append((await ref.ask(Where(), timeout_s=40.0)).text)
                        break
                    except CallboardError as error:
                        print(error, file=sys.stderr)
            return nodes

        async def main(cluster, second):
            async with start(
                address=cluster.address, hosts=4, standbys=0, heartbeat_s=0.5
            ) as system:
                refs = [await system.spawn(Sleepy, host=number) for number in (1, 2, 3, 4)]
                before = await where(refs)
                say(before=before, pids=processes())
                await asyncio.to_thread(cluster.remove_node, second)
                say(after=await where(refs))

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        second = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        try:
            asyncio.run(main(cluster, second))
        finally:
            cluster.shutdown()
        """,
    )
    said = driver.hear()
    before, pids = said["before"], said["pids"]
    assert len(set(before)) == 2
    assert all(before.count(node) == 2 for node in before)
    after = driver.hear()["after"]
    assert len(set(after)) == 1
    assert set(after) < set(before)
    assert driver.end() == 0
    gone(pids)
