"""A description of the machine of a measurement, so that two runs can be compared.

It describes the kind of machine and does not identify it: no host name, no user, no path.
"""

import importlib.metadata
import os
import platform
from pathlib import Path

__all__ = ["describe_machine"]

BYTES_PER_GIB = 1_024**3


def describe_machine() -> dict[str, str | int | float]:
    """The processor, cores, memory, load, and the relevant versions."""
    return {
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "memory_gib": round(_memory_bytes() / BYTES_PER_GIB, 1),
        "load_1_min": round(os.getloadavg()[0], 2),
        "os": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "ray": _version("ray"),
        "uvloop": _version("uvloop"),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    # A container may use fewer than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
