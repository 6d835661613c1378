"""Run one side in its own process, with a hard end.

Invariants: when `run_child` returns or raises, no process of the side is left. Processes that
remain after a grace period are killed and counted. No other process is touched. The processes of a
side are found by their session and by a mark in their environment, so that a process with its own
session is found too.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.entry import PARENT_PIPE_ENV

__all__ = ["ChildResult", "run_child"]

MARK_ENV = "CALLBOARD_BENCH_MARK"
LEFTOVER_GRACE_S = 5.0
KILL_WAIT_S = 5.0
POLL_S = 0.05
STAT_STATE, STAT_SESSION = 0, 3
"""The fields of state and session in /proc/PID/stat, after the command's name."""


@dataclass(frozen=True, slots=True)
class ChildResult:
    """The outcome of a side's process. `returncode` is None after a timeout.

    `leftovers` counts the processes that remained after the grace period and were killed.
    """

    returncode: int | None
    stdout: str
    stderr: str
    leftovers: int


def run_child(
    command: Sequence[str],
    *,
    cwd: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> ChildResult:
    """Run `command` to its end, or kill it and all its processes after `timeout_s`.

    Its temporary files are in a folder that is removed afterwards. An exception here, such as
    Ctrl-C, kills the side too.

    Raises:
        OSError: if the command cannot be started.
    """
    mark = secrets.token_hex(16)
    # A short prefix: Ray puts Unix sockets below, and their paths have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cb", ignore_cleanup_errors=True) as folder:
        # Files, not pipes: a daemon that remains would keep a pipe open for ever.
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        parent_pipe, our_end = os.pipe()
        try:
            with stdout.open("wb") as stdout_file, stderr.open("wb") as stderr_file:
                process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env={
                        **os.environ,
                        **(environment or {}),
                        MARK_ENV: mark,
                        PARENT_PIPE_ENV: str(parent_pipe),
                        "TMPDIR": folder,
                        "CALLBOARD_HOME": folder,
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=stdout_file,
                    stderr=stderr_file,
                    pass_fds=(parent_pipe,),
                    start_new_session=True,
                )
            returncode, leftovers = _wait(process, mark, timeout_s)
            return ChildResult(
                returncode,
                stdout.read_text(errors="replace"),
                stderr.read_text(errors="replace"),
                leftovers,
            )
        finally:
            os.close(parent_pipe)
            os.close(our_end)


def _wait(process: subprocess.Popen[bytes], mark: str, timeout_s: float) -> tuple[int | None, int]:
    """The exit code (None at the timeout) and the number of leftovers."""
    try:
        returncode = process.wait(timeout_s)
        return returncode, _wait_for_leftovers(process.pid, mark)
    except subprocess.TimeoutExpired:
        return None, 0
    finally:
        _kill_all(process.pid, mark)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_WAIT_S)


def _wait_for_leftovers(session: int, mark: str) -> int:
    """Give daemons time to see the end of their side. Count those that remain."""
    deadline = time.monotonic() + LEFTOVER_GRACE_S
    remaining = _processes(session, mark)
    while remaining and time.monotonic() < deadline:
        time.sleep(POLL_S)
        remaining = _processes(session, mark)
    return len(remaining)


def _kill_all(session: int, mark: str) -> None:
    if sys.platform != "linux":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(session, signal.SIGKILL)
        return
    deadline = time.monotonic() + KILL_WAIT_S
    # Repeated, because a process may start another one before it is killed.
    while (remaining := _processes(session, mark)) and time.monotonic() < deadline:
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _processes(session: int, mark: str) -> list[int]:
    """The living processes of the side. Only Linux shows them; elsewhere the list is empty."""
    if sys.platform != "linux":
        return []
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _belongs(pid, session, mark)]


def _belongs(pid: int, session: int, mark: str) -> bool:
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        if fields[STAT_STATE] in {"Z", "X"}:
            return False
        if int(fields[STAT_SESSION]) == session:
            return True
        return f"{MARK_ENV}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        # Gone meanwhile, or of another user. Neither belongs to the side.
        return False
