"""Detects the end of a process of this machine by the kernel, not by Ray.

Ray reports a dead actor after its raylet has seen the worker's socket close and its control store
has the news: after 20 to 60 ms, and later on a busy machine. The kernel reports the end of a
process at once to the holder of a descriptor of it (Linux's `pidfd_open(2)`). Nothing is guessed:
a process that cannot be watched is never reported, and Ray's report remains.

A process id is valid only inside its namespace and until the kernel reuses it. So an identity has
the namespace and the start time of the process too.
"""

import asyncio
import contextlib
import os
import pathlib
import signal
import sys
from typing import Final, NamedTuple

__all__ = [
    "Identity",
    "descriptor_of",
    "end_after",
    "has_ended",
    "identity_of",
    "is_near",
    "until_ended",
]

PROC: Final = pathlib.Path("/proc")
BEGAN_FIELD: Final = 19
"""The field after the name in /proc/PID/stat: the start of the process, in ticks since boot."""


class Identity(NamedTuple):
    """One process on one machine."""

    process_id: int
    began_ticks: int
    """Its start in ticks since boot; 0 when this platform does not say."""
    namespace: str
    """The namespace of its id; empty when this platform does not say."""


def identity_of(process_id: int) -> Identity:
    """The identity of a process by its id here. Raises `ProcessLookupError` without one."""
    namespace = _namespace()
    return Identity(process_id, _began_ticks(process_id) if namespace else 0, namespace)


def has_ended(process: Identity) -> bool:
    """Whether a process has ended for sure; False for one that cannot be seen from here."""
    return _is_over(process)


async def until_ended(process: Identity) -> None:
    """Return when a process has ended; never for a process that cannot be watched from here."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = descriptor_of(process)
    if descriptor is None:
        if _is_over(process):
            return
        await ended  # Only Ray can report its end.
        return
    try:
        # The descriptor protects the id from reuse; the id may have been reused before.
        if not _is_over(process):
            loop.add_reader(descriptor, _settle, ended)
            try:
                await ended
            finally:
                loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


async def end_after(process: Identity, grace_s: float) -> None:
    """Kill a process of this machine that has not ended within `grace_s`."""
    descriptor = descriptor_of(process)
    if descriptor is None:
        return
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await until_ended(process)
                return
        if not _is_over(process):
            with contextlib.suppress(OSError):  # It has ended in this moment, or is another user's.
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def _settle(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)


def descriptor_of(process: Identity) -> int | None:
    """A descriptor that becomes readable when the process ends; None without one."""
    if sys.platform != "linux" or not is_near(process):
        return None
    with contextlib.suppress(OSError):  # No such process, no such call, no descriptor left.
        return os.pidfd_open(process.process_id)
    return None


def _is_over(process: Identity) -> bool:
    """Whether it has surely ended. A zombie process has not."""
    if not is_near(process):
        return False
    try:
        return _began_ticks(process.process_id) != process.began_ticks
    except ProcessLookupError:
        return True
    except OSError:  # Unknown, for example because no descriptor is left.
        return False


def is_near(process: Identity) -> bool:
    """Whether its id is valid in this process's namespace."""
    return bool(process.namespace) and process.namespace == _namespace()


def _namespace() -> str:
    """The running kernel and the process namespace of this process; empty if unknown."""
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
    # The name is in brackets and may contain brackets.
    return int(status.rpartition(")")[2].split()[BEGAN_FIELD])
