"""The command line, called in this process or started as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from callboard.runtime.cli.main import main

JOBS: Final = '''
import asyncio
import sys

import numpy as np

from callboard import Actor, Agent, Context, Contract, Request, handler
from callboard.messaging import Array


class Pong(Contract):
    n: int
    host: str = ""


class Ping(Request[Pong]):
    n: int


class Odd(Contract):
    grid: Array
    raw: bytes


class Wait(Request[Pong]):
    s: float


class Crash(Contract):
    text: str


class Player(Agent):
    @handler
    async def ping(self, request: Ping, ctx: Context) -> Pong:
        if request.n < 0:
            raise ValueError("below zero")
        return Pong(n=request.n, host=ctx.host_name)


class Referee(Actor):
    """Answers two requests, asks players, and can be made to fail."""

    @handler
    async def ping(self, request: Ping, ctx: Context) -> Pong:
        return await ctx.ask(request)

    @handler
    async def wait(self, request: Wait) -> Pong:
        print("up", flush=True)
        await asyncio.sleep(request.s)
        return Pong(n=0)

    @handler
    async def crash(self, message: Crash) -> None:
        raise ValueError(message.text)


class Mute(Actor):
    pass


async def arguments(system):
    return sys.argv[1:]


async def odd_values(system):
    return [Odd(grid=np.arange(3.0), raw=b"\\xff"), float("nan"), {"a": {1}}, object]


async def hosts(system):
    return system.living_hosts


async def fails(system):
    raise LookupError("nothing there")


async def too_late(system):
    async with asyncio.timeout(0.01):
        await asyncio.sleep(30)


async def hangs(system):
    await system.pool(Player, size=3)
    print("up", flush=True)
    await asyncio.sleep(60)


async def stands(system):
    """Runs until its stdin ends."""
    await system.pool(Player, size=3)
    referee = await system.spawn(Referee, name="referee")
    referee.tell(Crash(text="on purpose"))
    await referee.ask(Ping(n=1))
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def not_async(system):
    pass
'''

# A shell's background job ignores SIGINT, and its children inherit that.
ENTRY: Final = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from callboard.runtime.cli.main import main
main()
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with a module `jobs`. Imported modules are removed afterwards."""
    (tmp_path / "jobs.py").write_text(JOBS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("ENGINE", "HOSTS", "ADDRESS", "NAME"):
        monkeypatch.delenv(f"CALLBOARD_{name}", raising=False)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) == str(tmp_path / f"{name}.py"):
            del sys.modules[name]


@pytest.fixture
def callboard(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command line in this process."""

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(int(ended.value.code), out, err)

    return run


class Process:
    """A command in its own process, and the resources that it must release at its end."""

    def __init__(self, folder: Path, arguments: tuple[str, ...]) -> None:
        self._shared_before = shared_memory()
        command = [sys.executable, "-c", ENTRY]
        self.popen = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._children: list[psutil.Process] = []

    @property
    def pid(self) -> int:
        return self.popen.pid

    def wait_for(self, text: str) -> None:
        """Read stdout until `text` is in a line of it."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            if text in line:
                self._children = psutil.Process(self.pid).children(recursive=True)
                return
        assert self.popen.stderr is not None
        pytest.fail(f"it ended before it said {text!r}: {self.popen.stderr.read()}")

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def end(self, timeout_s: float = 60.0, text: str | None = None) -> Ended:
        """Wait for its end."""
        out, err = self.popen.communicate(text, timeout=timeout_s)
        return Ended(self.popen.returncode, out, err)

    def left_behind(self) -> list[str]:
        """Its processes and shared-memory files that are still there."""
        _, alive = psutil.wait_procs(self._children, timeout=1.0)
        mine = [f"process {process.pid}" for process in alive]
        return mine + sorted(shared_memory() - self._shared_before)


def shared_memory() -> set[str]:
    """The shared-memory files of this user's Ray and Callboard."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return set()
    return {file.name for file in folder.iterdir() if file.name.startswith(("plasma", "callboard"))}


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Process]]:
    """Starts the command line as a process, and kills processes that a failed test left."""
    started: list[Process] = []

    def begin(*arguments: str) -> Process:
        process = Process(folder, arguments)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.popen.poll() is None:
            process.popen.terminate()
            process.popen.communicate()
        for stream in (process.popen.stdin, process.popen.stdout, process.popen.stderr):
            if stream is not None:
                stream.close()
