"""Notices the end of a process of this machine by the kernel, not by Ray.

Ray tells of a dead actor when its raylet has seen the worker's socket close and its control
store has heard of it: 20 to 60 ms, and more when the machine is busy, which it is just then. The
kernel tells in the moment of the process' end, to whoever holds a descriptor of it (Linux's
`pidfd_open(2)`). Nothing is guessed: what cannot be watched so is never said to have ended, and
Ray's notice remains.

A process id means something only inside its namespace and until it is used again, so an
identity carries both, and when the process began.
"""

import asyncio
import contextlib
import os
import pathlib
import sys
from typing import Final, NamedTuple

__all__ = ["Identity", "identity_of", "until_ended"]

PROC: Final = pathlib.Path("/proc")
BEGAN_FIELD: Final = 19
"""Of /proc/PID/stat behind the name: when it began, in ticks since the machine's start."""


class Identity(NamedTuple):
    """One process on one machine."""

    process_id: int
    began_ticks: int
    """When it began; 0 when this platform does not tell."""
    namespace: str
    """Where its id is valid; empty when this platform does not tell."""


def identity_of(process_id: int) -> Identity:
    """The identity of a process that this one sees. Raises `ProcessLookupError` without one."""
    namespace = _namespace()
    return Identity(process_id, _began_ticks(process_id) if namespace else 0, namespace)


async def until_ended(process: Identity) -> None:
    """Return when a process has ended; never for one that cannot be watched from here."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = _open(process)
    if descriptor is None:
        if _is_over(process):
            return
        await ended  # Nobody knows better than Ray.
        return
    try:
        # Opened, so its id is not given to another any more; but it may have been before.
        if not _is_over(process):
            loop.add_reader(descriptor, _settle, ended)
            try:
                await ended
            finally:
                loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def _settle(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)


def _open(process: Identity) -> int | None:
    """A descriptor that is readable once the process has ended; None when there is none."""
    if sys.platform != "linux" or not _is_near(process):
        return None
    with contextlib.suppress(OSError):  # No such process, no such call, no descriptor left.
        return os.pidfd_open(process.process_id)
    return None


def _is_over(process: Identity) -> bool:
    """Whether it is known to have ended. One that nobody has waited for yet is not."""
    if not _is_near(process):
        return False
    try:
        return _began_ticks(process.process_id) != process.began_ticks
    except ProcessLookupError:
        return True
    except OSError:  # Nothing is known, for example because no descriptor is left.
        return False


def _is_near(process: Identity) -> bool:
    """Whether its id means that process here, too."""
    return bool(process.namespace) and process.namespace == _namespace()


def _namespace() -> str:
    """Names the kernel that runs and the process namespace of this process; empty if unknown."""
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _began_ticks(process_id: int) -> int:
    try:
        status = (PROC / str(process_id) / "stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise ProcessLookupError(f"there is no process {process_id}.") from None
    # The name stands in brackets and may hold anything, also brackets.
    return int(status.rpartition(")")[2].split()[BEGAN_FIELD])
