"""The end of a whole system of this machine, in order or by force, and of nothing else."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from callboard.messages.core.errors import UsageError

from ..api.local_systems import LocalFolder, LocalSystem
from ..doctor.leftovers import processes_of, seen_processes
from ..transport.process_watch import Identity, descriptor_of, has_ended

__all__ = ["LocalEnd", "end_local"]

RAY_S: Final = 20.0
"""How long the daemon may take beyond the time of the actors: it waits for a dead root, and ends
Ray."""
SAYS_S: Final = 5.0
"""How long a daemon that has just started may take to say which process it is."""
KILLED_S: Final = 5.0
POLL_S: Final = 0.05


class LocalEnd(NamedTuple):
    """How a system ended."""

    in_order: bool
    """Whether its daemon stopped it."""
    killed: tuple[int, ...]
    """The processes that were left, and have been killed."""


def end_local(folder: LocalFolder, timeout_s: float) -> LocalEnd | None:
    """End the system of a folder; None when there is none.

    Its actors have `timeout_s` to stop. Only processes that the system's own state names are ended:
    its daemon, by id and start time, and those of its session of Ray.
    """
    state = _state(folder)
    if state is None and not folder.is_held():
        folder.forget()
        return None
    if state is None:
        until(lambda: _state(folder) is not None or not folder.is_held(), SAYS_S)
        state = _state(folder)
    in_order = False
    if state is not None and folder.is_held():
        _signal(state.daemon, signal.SIGTERM)
        in_order = until(lambda: not folder.is_held(), timeout_s + RAY_S)
        if not in_order:
            _signal(state.daemon, signal.SIGKILL)
            until(lambda: not folder.is_held(), KILLED_S)
        # It has let the folder go, and its interpreter may still be ending.
        if not until(lambda: _is_over(state.daemon), KILLED_S):
            _signal(state.daemon, signal.SIGKILL)
    killed = _kill_session(state.session) if state is not None and state.session else ()
    folder.forget()
    return LocalEnd(in_order and not killed, killed)


def _state(folder: LocalFolder) -> LocalSystem | None:
    try:
        return folder.read()
    except UsageError:
        return None


def until(is_so: Callable[[], bool], limit_s: float) -> bool:
    """Wait until something is so, at most so long; whether it is."""
    deadline_s = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def _signal(process: Identity, number: signal.Signals) -> None:
    """Send a signal to that very process, if it lives."""
    descriptor = descriptor_of(process)
    if descriptor is None:
        return
    try:
        # The descriptor protects the id from reuse; the id may have been reused before.
        if not has_ended(process):
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)


def _is_over(process: Identity) -> bool:
    """Whether it has ended; one that nobody has waited for yet (a zombie) has."""
    if has_ended(process):
        return True
    try:
        status: str = psutil.Process(process.process_id).status()
    except psutil.Error:
        return True
    return status == psutil.STATUS_ZOMBIE


def _kill_session(session: str) -> tuple[int, ...]:
    """Kill what is left of a session of Ray."""
    killed: list[psutil.Process] = []
    for pid in sorted(processes_of(seen_processes(), {Path(session).name})):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            process.kill()
            killed.append(process)
    psutil.wait_procs(killed, timeout=KILLED_S)
    return tuple(process.pid for process in killed)
