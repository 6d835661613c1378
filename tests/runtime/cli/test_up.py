"""`callboard up` and `down`: one system of this machine, and never another one's processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from callboard.messages.core.errors import UsageError
from callboard.runtime.api.local_systems import (
    LocalFolder,
    LocalSystem,
    local_address,
    local_folders,
)
from callboard.runtime.cli import local_ends
from callboard.runtime.cli.local_ends import end_local, until
from callboard.runtime.transport.process_watch import identity_of
from tests.runtime.detached.cluster import gone, running_cluster

pytest.importorskip("fastapi")

STARTS_S = 200.0
DAEMON = """
import os, signal, sys, threading
from callboard.runtime.api.local_systems import LocalFolder, LocalSystem
from callboard.runtime.transport.process_watch import identity_of
folder = LocalFolder(sys.argv[1])
folder.make()
lock = folder.lock()
assert lock.take()
folder.write_token()
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: None if sys.argv[2] == "deaf" else ended.set())
mine = identity_of(os.getpid())
folder.write(LocalSystem(name=sys.argv[1], daemon=mine, address="127.0.0.1:1", urls=("x",)))
print("up", flush=True)
ended.wait()
folder.forget()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CALLBOARD_HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")
    return tmp_path


class Daemon:
    """A process that holds a folder as the daemon of a system does."""

    def __init__(self, name: str, how: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DAEMON, name, how], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"up\n"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    found = Daemon("mine")
    yield found
    found.close()


def test_a_driver_finds_a_living_system_and_its_token(daemon: Daemon) -> None:
    environment = {**os.environ, "RAY_AUTH_TOKEN": "of another cluster"}
    folder = LocalFolder("mine")
    assert local_address("mine", environment) == "127.0.0.1:1"
    assert "RAY_AUTH_TOKEN" not in environment
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(folder.token)
    assert [each.name for each in local_folders()] == ["mine"]
    for path in (folder.token, folder.path / "state.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_file_of_a_killed_daemon_is_no_system(daemon: Daemon) -> None:
    daemon.close()
    environment = dict(os.environ)
    assert local_address("mine", environment) is None
    assert environment == dict(os.environ)
    assert end_local(LocalFolder("mine"), 1.0) == (False, ())
    assert end_local(LocalFolder("mine"), 1.0) is None


def test_down_lets_the_daemon_stop_its_system(daemon: Daemon) -> None:
    assert end_local(LocalFolder("mine"), 5.0) == (True, ())
    assert daemon.process.wait(10) == 0
    assert local_folders() == []


def test_down_kills_a_daemon_that_does_not_stop(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_ends, "RAY_S", 0.1)
    daemon = Daemon("deaf", "deaf")
    try:
        assert end_local(LocalFolder("deaf"), 0.1) == (False, ())
        assert daemon.process.wait(10) == -signal.SIGKILL
    finally:
        daemon.close()


def test_down_never_ends_a_process_that_has_got_the_number_of_the_daemon(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_ends, "RAY_S", 0.1)
    monkeypatch.setattr(local_ends, "KILLED_S", 0.1)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        folder = LocalFolder("mine")
        daemon.close()
        number = identity_of(other.pid)._replace(began_ticks=1)
        folder.write(LocalSystem(name="mine", daemon=number, session="/tmp/ray/session_none"))
        lock = folder.lock()
        assert lock.take()  # As if a daemon held it.
        try:
            assert end_local(folder, 0.1) is not None
        finally:
            lock.release()
        assert other.poll() is None
    finally:
        other.kill()
        other.communicate()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "mine"}', "\x00" * 100])
def test_a_damaged_file_is_said_and_down_removes_it(home: Path, text: str) -> None:
    folder = LocalFolder("mine")
    folder.make()
    (folder.path / "state.json").write_text(text)
    with pytest.raises(UsageError, match="callboard down mine"):
        folder.read()
    assert local_address("mine", dict(os.environ)) is None
    assert end_local(folder, 1.0) is None
    assert folder.read() is None


@pytest.mark.parametrize("name", ["a/b", ".", "..", "", "a\0b"])
def test_a_name_is_no_path(home: Path, name: str) -> None:
    with pytest.raises(UsageError):
        LocalFolder(name)
    assert local_address(name, dict(os.environ)) is None


# --- on Ray ---------------------------------------------------------------------------------------


CALLBOARD = "from callboard.runtime.cli.main import main; main()"
ATTACHED = """
import asyncio, callboard
async def main():
    async with callboard.attach("lap") as system:
        print(len((await system.view()).hosts), flush=True)
asyncio.run(main())
"""


def command(home: Path, *arguments: str) -> dict[str, Any]:
    """Run a command of the command line, and give its line of JSON."""
    done = subprocess.run(
        [sys.executable, "-c", CALLBOARD, *arguments, "--json"],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=STARTS_S,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def environment(home: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if text}
    return {**kept, "CALLBOARD_HOME": str(home)}


def of_session(home: Path) -> list[psutil.Process]:
    """The processes of the system's Ray."""
    state = json.loads((home / "systems/lap/state.json").read_text())
    name = Path(state["session"]).name
    found = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(name in part for part in process.info["cmdline"] or ())
    ]
    assert found
    return found


def all_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=20)[1]


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(1_500)
def test_up_and_down_of_a_whole_system_leave_another_ray_alone(home: Path) -> None:
    with running_cluster() as other:
        facts = command(home, "up", "lap", "--hosts", "1", "--timeout", "150")
        assert facts["started"]
        assert "#code=" in facts["links"][0]
        mine = of_session(home)
        again = command(home, "up", "lap")
        assert (again["started"], again["daemon"]) == (False, facts["daemon"])
        assert again["urls"] == facts["urls"]
        assert command(home, "ui", "lap")["urls"] == facts["urls"]
        # Who has asked for the link is in the journal, before any execution.
        assert (
            command(home, "events", "acts", "--limit", "1")["fields"]["act"]
            == "callboard.admin.open_page"
        )
        attached = subprocess.run(
            [sys.executable, "-c", ATTACHED],
            env=environment(home),
            capture_output=True,
            text=True,
            check=True,
            timeout=STARTS_S,
        )
        assert int(attached.stdout) >= 2
        assert command(home, "down", "lap") == {"name": "lap", "in_order": True, "killed": []}
        assert all_gone(mine)
        gone([facts["daemon"]])
        for part in ("gcs_server", "raylet", "daemon"):
            facts = command(home, "up", "lap", "--hosts", "1", "--timeout", "150")
            mine = of_session(home)
            if part == "daemon":
                os.kill(facts["daemon"], signal.SIGKILL)
            else:
                (victim,) = [process for process in mine if process.name() == part]
                victim.kill()
            assert not command(home, "down", "lap")["in_order"] or part != "daemon"
            assert all_gone(mine)
        starting = subprocess.Popen(
            [sys.executable, "-c", CALLBOARD, "up", "lap", "--hosts", "1"], env=environment(home)
        )
        assert until((home / "systems/lap/state.json").exists, 60)
        starting.kill()
        starting.wait()
        command(home, "down", "lap")
        assert not LocalFolder("lap", environment(home)).is_held()
        assert other.command("down", "--address", other.address, "--json").returncode == 0
