"""A Ray cluster as an operator starts it, and drivers of it, each in a process of its own."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

__all__ = ["FIXTURES", "Cluster", "Driver", "gone", "joined_node", "running_cluster"]

UP_WITHIN_S: Final = 60.0
GONE_WITHIN_S: Final = 20.0

FIXTURES: Final = """
import asyncio, json, os, signal, sys, time

import ray

from callboard import (
    Actor,
    CallboardError,
    Context,
    Contract,
    Request,
    attach,
    errors,
    handler,
    start,
)

ADDRESS = os.environ["CLUSTER"]

class Count(Contract):
    n: int
    pid: int

class Add(Request[Count]):
    pass

class Hang(Request[Count]):
    pass

class Hung(Contract):
    running: int
    cancelled: int

class HowMany(Request[Hung]):
    pass

class Counter(Actor):
    def __init__(self):
        self.n = 0

    @handler
    async def add(self, request: Add) -> Count:
        self.n += 1
        return Count(n=self.n, pid=os.getpid())

class Slow(Counter):
    async def started(self, ctx: Context) -> None:
        await asyncio.sleep(0.1)

class Waiting(Actor):
    concurrency = 8

    def __init__(self):
        self.running = self.cancelled = 0

    @handler
    async def hang(self, request: Hang) -> Count:
        self.running += 1
        try:
            await asyncio.sleep(3600)
        finally:
            self.cancelled += 1
            self.running -= 1
        return Count(n=0, pid=0)

    @handler
    async def how_many(self, request: HowMany) -> Hung:
        return Hung(running=self.running, cancelled=self.cancelled)

def say(**values):
    print(json.dumps(values), flush=True)

async def root_pid(name):
    return await ray.get_actor(f"{name}/root", "callboard").ping.remote()

async def pids(system):
    view = await system.view()
    return {host.name: host.pid for host in view.hosts if host.slot}
"""


class Driver:
    """One driver script, under way."""

    def __init__(self, cluster: "Cluster", text: str, variables: Mapping[str, str]) -> None:
        folder = pathlib.Path(tempfile.mkdtemp(dir=cluster.folder))
        path = folder / "driver.py"
        path.write_text(FIXTURES + textwrap.dedent(text), encoding="utf-8")
        self.errors = folder / "errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(path)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**cluster.environment, **variables},
            )

    def hear(self) -> dict[str, Any]:
        """The next line of the driver's output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                said: dict[str, Any] = json.loads(line)
                return said
        raise AssertionError(f"it ended: {self.errors.read_text()[-3_000:]}")

    def end(self) -> int:
        """Its exit code."""
        self.process.communicate(timeout=60.0)
        return self.process.returncode

    def kill(self) -> None:
        """Kill the driver by SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.end()


@dataclass
class Cluster:
    """One `ray start --head`."""

    address: str
    folder: pathlib.Path
    environment: dict[str, str] = field(repr=False)

    def driver(self, text: str, **variables: str) -> Driver:
        """Start a driver of this cluster, with these variables in its environment."""
        return Driver(self, text, variables)

    def said(self, text: str, **variables: str) -> dict[str, Any]:
        """Run a driver and return its one line of output."""
        driver = self.driver(text, **variables)
        said = driver.hear()
        assert driver.end() == 0, driver.errors.read_text()[-3_000:]
        return said

    def callboard(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `callboard` command with the address of this cluster."""
        return self.command(*arguments, "--address", self.address)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `callboard` command on this machine."""
        code = "from callboard.runtime.cli.main import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60.0,
            env=self.environment,
        )


@contextlib.contextmanager
def joined_node(cluster: Cluster, *, within: Sequence[str] = (), cpus: int = 1) -> Iterator[None]:
    """One more node on this machine; `within` is the command that starts it, if not Python."""
    log = cluster.folder / f"node-{time.monotonic_ns()}"
    options = (
        f"--address={cluster.address} --block --num-cpus={cpus} --object-store-memory=100000000"
    )
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", *options.split()]
    with log.open("wb") as out:
        node = subprocess.Popen([*within, *start], stdout=out, stderr=out, env=cluster.environment)
    try:
        _wait_until_it_says("Ray runtime started", log, node)
        yield
    finally:
        _end(node)


@contextlib.contextmanager
def running_cluster(
    *, home: pathlib.Path | None = None, path: pathlib.Path | None = None, cpus: int = 4
) -> Iterator[Cluster]:
    """Start Ray's head in a process of its own, and end it with all that it started.

    With a `home` of its own it finds its token there, and nothing says that it has one. With a
    `path` its processes find modules there first; drivers do not.
    """
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))  # Socket paths are short.
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, client_port = free.getsockname()[1], other.getsockname()[1]
    address = f"127.0.0.1:{port}"
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "CLUSTER": address,
    }
    environment.pop("RAY_ADDRESS", None)
    if home is not None:
        del environment["RAY_AUTH_MODE"]
        environment["HOME"] = str(home)
    options = (
        f"--head --block --port={port} --node-ip-address=127.0.0.1 "
        f"--num-cpus={cpus} "
        f"--include-dashboard=false --temp-dir={folder} --ray-client-server-port={client_port} "
        "--object-store-memory=200000000"
    )
    with (folder / "head").open("wb") as log:
        head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *options.split()],
            stdout=log,
            stderr=log,
            env=environment if path is None else {**environment, "PYTHONPATH": str(path)},
        )
    try:
        _wait_until_it_says("Ray runtime started", folder / "head", head)
        yield Cluster(address, folder, environment)
    finally:
        _end(head)
        shutil.rmtree(folder, ignore_errors=True)


def _end(node: "subprocess.Popen[bytes]") -> None:
    """End `ray start --block` with all that it has started."""
    children = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(node.pid).children(recursive=True)
    node.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        node.wait(timeout=GONE_WITHIN_S)
    node.kill()
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()
    node.wait()
    psutil.wait_procs(children, timeout=GONE_WITHIN_S)


def _wait_until_it_says(text: str, log: pathlib.Path, node: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + UP_WITHIN_S
    while text not in log.read_text(errors="replace"):
        assert node.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline_s, log.read_text(errors="replace")
        time.sleep(0.05)


def gone(pids: list[int]) -> None:
    """Wait until none of these processes is left."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, alive = psutil.wait_procs(processes, timeout=GONE_WITHIN_S)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
