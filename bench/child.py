"""Running one side in a process of its own, with a hard end.

Invariants: when `run_child` returns or raises, no process that the side started is left
(what remained after a grace period was killed, and counted); nothing else was touched.
The processes of a side are known by their session and by a mark in their environment, so
that also one that made a session of its own is found.
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
"""Where state and session stand in /proc/PID/stat, counted after the command's name."""


@dataclass(frozen=True, slots=True)
class ChildResult:
    """How a side's process ended; `returncode` is None when its time ran out.

    `leftovers` counts the processes that were still there after the grace period and
    had to be killed.
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
    """Run `command` to its end, or kill it and all that it started at `timeout_s`.

    Its temporary files go to a folder that is removed afterwards. An exception here
    (Ctrl-C above all) kills the side as well, then goes on.

    Raises:
        OSError: if the command cannot be started.
    """
    mark = secrets.token_hex(16)
    # The prefix is short: Ray puts Unix sockets below, whose paths are limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cb", ignore_cleanup_errors=True) as folder:
        # Files, not pipes: a daemon that is left behind would hold a pipe open for ever.
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
    """Give daemons the time to see that their side has ended; count those that did not."""
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
    # More than once: a process may start another between the look and the kill.
    while (remaining := _processes(session, mark)) and time.monotonic() < deadline:
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_S)


def _processes(session: int, mark: str) -> list[int]:
    """The living processes of the side; only Linux can tell, elsewhere there are none."""
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
        # Gone meanwhile, or another user's: in both cases not ours.
        return False
