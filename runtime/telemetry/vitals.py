"""The memory and processor time of this process, by the operating system."""

import os
import pathlib
import resource
import socket
from typing import Final

from callboard.actors.kernel.inspection.meters import Vitals

__all__ = ["process_vitals"]

PAGE_BYTES: Final = resource.getpagesize()
STATM: Final = pathlib.Path("/proc/self/statm")


def process_vitals() -> Vitals:
    """The id, machine, memory and processor time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Vitals(
        pid=os.getpid(),
        node=socket.gethostname(),
        memory_bytes=_memory_bytes(usage),
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


def _memory_bytes(usage: resource.struct_rusage) -> int:
    """Resident memory; its peak where the system has no present value."""
    if STATM.exists():
        return int(STATM.read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    return usage.ru_maxrss
