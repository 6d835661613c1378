"""A server process for tests, which does not outlive them.

A guard, a small shell process, reads from a pipe. When the process of the tests ends, even by a
kill with -9, the pipe ends. The guard then kills the server and removes its folder.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Guarded", "ServerFailed", "short_folder", "wait_until"]

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.01

GUARD: Final = 'cat >/dev/null; kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"'


class ServerFailed(Exception):
    """A server did not start or stop in time. The message has its log."""


def short_folder(prefix: str) -> Path:
    """A new temporary folder whose path is short enough for a Unix socket in it.

    The path of a socket has 107 characters at most, and a test's temporary folder is often longer.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    if len(str(folder)) > 80 and Path("/tmp").is_dir():
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    return folder


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until the condition holds. Raises `TimeoutError` with `what`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(POLL_S)


class Guarded:
    """One process at a time, always started by the same command."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        log: Path,
        is_ready: Callable[[], bool],
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.command: Final = [str(part) for part in command]
        self.folder: Final = folder
        self.log: Final = log
        self._is_ready = is_ready
        self._user = user
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the server's process. Fails when it is not running."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server, and wait until it answers. Does nothing when it runs."""
        if self.is_running:
            return
        self._forget()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self._environment,
                user=self._user,
                # In its own group, because Ctrl-C is for the tests, which then stop the server.
                process_group=0,
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self._process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.command[0]} did not start:\n{self._log_end()}")
            time.sleep(POLL_S)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop the server by a signal, and wait for its end. Does nothing when it is down."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
            raise ServerFailed(f"{self.command[0]} did not stop:\n{self._log_end()}") from None
        finally:
            self._forget()

    def kill(self) -> None:
        """Kill the server with -9."""
        self.stop(signal.SIGKILL)

    def pause(self) -> None:
        """Suspend the server: it keeps its connections, but does not answer."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a paused server. Does nothing when it runs, or is gone."""
        if self.is_running:
            os.kill(self.pid, signal.SIGCONT)

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-4_000:]

    def _forget(self) -> None:
        """End the guard first: another process may get the id of the server."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait(STOP_TIMEOUT_S)
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard = None
        self._process = None

    def remove(self) -> None:
        """Kill the server and remove its folder."""
        with contextlib.suppress(ServerFailed):
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
