"""Whether this machine can run Callboard: Python, packages, disk, memory, open files.

Each `check_*` function judges values that its caller measured, so that a test can reach every
outcome on any machine. The other functions measure.
"""

import importlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psutil

from .check import Check, Status

__all__ = [
    "available_memory_bytes",
    "check_disk",
    "check_memory",
    "check_open_files",
    "check_python",
    "check_ray",
    "check_shared_memory",
    "check_uvloop",
    "imported_version",
    "is_writable",
    "open_files_limit",
    "ray_temporary_folder",
    "shared_memory_bytes",
    "usable_folder",
]

MIB: Final = 1024**2
GIB: Final = 1024**3

PYTHON_MIN: Final = (3, 11)
RAY_MIN: Final = (2, 54)
"""Older dashboards let a web page act on the cluster (CVE-2026-27482)."""
RAY_BELOW: Final = (3, 0)
RAY_INSTALL: Final = "Install it into the Python that runs Callboard: pip install 'ray[default]'."

DISK_FREE_BYTES_MIN: Final = 1 * GIB
"""Room for logs and spilled objects of one local session. Ray cannot work with less."""
DISK_FREE_BYTES_LOW: Final = 5 * GIB
DISK_USED_SHARE_MAX: Final = 0.95
"""Ray's own threshold: it creates no objects on a fuller disk."""

MEMORY_BYTES_MIN: Final = 512 * MIB
"""Ray's own processes take about this much before the first host starts."""
MEMORY_BYTES_LOW: Final = 2 * GIB
SHARED_MEMORY_BYTES_LOW: Final = 1 * GIB
OPEN_FILES_MIN: Final = 256
OPEN_FILES_LOW: Final = 4_096

CGROUP: Final = Path("/sys/fs/cgroup")
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- the mount itself, not a temporary file


# --- measuring ----------------------------------------------------------------------------------


def imported_version(package: str) -> str:
    """The installed version of `package`, after importing it.

    Raises ImportError (or whatever the package raises) when it cannot be imported.
    """
    importlib.import_module(package)
    return importlib.metadata.version(package)


def ray_temporary_folder(environment: Mapping[str, str]) -> Path:
    """Where Ray puts its sessions: sockets, logs and spilled objects."""
    return Path(environment.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"


def usable_folder(folder: Path) -> Path:
    """`folder`, or its nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def available_memory_bytes(cgroup: Path = CGROUP) -> int:
    """The free memory of the machine, or less where a container limits it."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = (cgroup / "memory.current").read_text().strip()
    except OSError:
        return available
    if not (limit.isdigit() and used.isdigit()):  # "max": no limit
        return available
    return max(0, min(available, int(limit) - int(used)))


def shared_memory_bytes(mount: Path = SHARED_MEMORY) -> int | None:
    """The size of the shared-memory file system; None where there is none."""
    if not mount.is_dir():
        return None
    return int(psutil.disk_usage(str(mount)).total)


def open_files_limit() -> tuple[int, int] | None:
    """The soft and hard limits on open files. None on Windows; -1 means no limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    return (-1 if soft == infinite else soft, -1 if hard == infinite else hard)


# --- judging ------------------------------------------------------------------------------------


def _version_pair(version: str) -> tuple[int, int]:
    parts = version.split(".")
    return int(parts[0]), int("".join(filter(str.isdigit, parts[1])) or 0)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:.0f} MiB"


def check_python(version: tuple[int, int, int]) -> Check:
    """Whether this Python is new enough."""
    found = ".".join(map(str, version))
    if version[:2] >= PYTHON_MIN:
        return Check("python", Status.OK, found)
    return Check(
        "python",
        Status.FAIL,
        f"{found} is too old",
        "Install Python 3.11 or newer and create the environment with it.",
    )


def check_ray(find: Callable[[str], str]) -> Check:
    """Whether Ray can be imported, in a version that Callboard supports."""
    try:
        version = find("ray")
    except ModuleNotFoundError as error:
        missing = "not installed" if error.name == "ray" else f"needs {error.name}"
        return Check("ray", Status.FAIL, missing, RAY_INSTALL)
    except Exception as error:  # noqa: BLE001 -- a half-installed Ray can raise anything
        found = f"cannot be imported: {type(error).__name__}: {error}"
        return Check("ray", Status.FAIL, found, f"Reinstall it. {RAY_INSTALL}")
    if RAY_MIN <= _version_pair(version) < RAY_BELOW:
        return Check("ray", Status.OK, version)
    return Check(
        "ray",
        Status.FAIL,
        f"{version} is not supported by Callboard",
        "Install a supported one: pip install 'ray[default]>=2.54,<3' (the same on every node).",
    )


def check_uvloop(find: Callable[[str], str], platform: str) -> Check:
    """Whether the faster event loop is installed. Everything works without it, but slower."""
    if platform == "win32":
        return Check("uvloop", Status.OK, "not available on Windows; asyncio's own loop is used")
    try:
        return Check("uvloop", Status.OK, find("uvloop"))
    except ImportError:
        return Check(
            "uvloop",
            Status.WARN,
            "not installed, so messages take longer",
            "pip install uvloop",
        )


def check_disk(folder: Path, total_bytes: int, free_bytes: int, *, writable: bool) -> Check:
    """Whether Ray's session folder has room."""
    found = f"{_size(free_bytes)} free for {folder}"
    elsewhere = "or set RAY_TMPDIR to a folder (of a short path) on a larger disk."
    if not writable:
        return Check(
            "disk",
            Status.FAIL,
            f"{folder} cannot be written",
            f"Make it writable for this user, {elsewhere}",
        )
    if free_bytes < DISK_FREE_BYTES_MIN:
        return Check("disk", Status.FAIL, found, f"Free at least 1 GiB there, {elsewhere}")
    if total_bytes and 1 - free_bytes / total_bytes > DISK_USED_SHARE_MAX:
        return Check(
            "disk",
            Status.WARN,
            f"{found}, but the disk is over 95 % full and Ray will not create objects on it",
            f"Free some of it, {elsewhere}",
        )
    if free_bytes < DISK_FREE_BYTES_LOW:
        return Check("disk", Status.WARN, found, f"Free some of it, {elsewhere}")
    return Check("disk", Status.OK, found)


def check_shared_memory(size_bytes: int | None) -> Check:
    """Whether Ray's object store has enough shared memory."""
    if size_bytes is None:
        return Check("shared memory", Status.OK, "no /dev/shm here; Ray uses files instead")
    found = f"{_size(size_bytes)} in /dev/shm"
    if size_bytes >= SHARED_MEMORY_BYTES_LOW:
        return Check("shared memory", Status.OK, found)
    return Check(
        "shared memory",
        Status.WARN,
        f"{found}: large values go to disk and are slow",
        "Give the container more, for instance --shm-size=2g.",
    )


def check_memory(available_bytes: int) -> Check:
    """Whether there is enough memory for Ray and a few hosts."""
    found = f"{_size(available_bytes)} available"
    if available_bytes < MEMORY_BYTES_MIN:
        return Check(
            "memory",
            Status.FAIL,
            found,
            "Stop other programs or use a larger machine: Ray alone needs about 512 MiB.",
        )
    if available_bytes < MEMORY_BYTES_LOW:
        return Check(
            "memory",
            Status.WARN,
            found,
            "Run few hosts (each takes about 150 MiB) or stop other programs.",
        )
    return Check("memory", Status.OK, found)


def check_open_files(limits: tuple[int, int] | None) -> Check:
    """Whether a process may open enough files and sockets at once."""
    if limits is None:
        return Check("open files", Status.OK, "no limit of this kind on Windows")
    soft, hard = limits
    if soft == -1 or soft >= OPEN_FILES_LOW:
        return Check("open files", Status.OK, "no limit" if soft == -1 else f"{soft} allowed")
    raised = 65_536 if hard == -1 else min(hard, 65_536)
    advice = f"Before starting: ulimit -n {raised}."
    if raised < OPEN_FILES_LOW:
        advice = f"{advice} The hard limit ({hard}) must be raised by the administrator first."
    status = Status.FAIL if soft < OPEN_FILES_MIN else Status.WARN
    return Check("open files", status, f"only {soft} allowed", advice)


def is_writable(folder: Path) -> bool:
    """Whether this user may create files in `folder`, or in its nearest existing parent."""
    return os.access(usable_folder(folder), os.W_OK | os.X_OK)
