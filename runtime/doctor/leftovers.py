"""Leftovers without an owner: Ray processes without a driver, detached systems without a root.

Ray ends neither by itself. `find_strays` checks a list of processes, and `check_leftovers` a list
of systems. `seen_processes` makes the list of processes.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from callboard.messages.core.names import shell_command

from .check import Check, Status

__all__ = [
    "ProcessSeen",
    "check_leftovers",
    "check_strays",
    "find_strays",
    "leftovers_unknown",
    "processes_of",
    "seen_processes",
]

DETACHED: Final = "detached systems"
STRAYS_SHOWN_MAX: Final = 8
INIT_PID: Final = 1
REAPERS: Final = frozenset({"systemd", "init", "launchd", "tini", "dumb-init", "docker-init"})
"""Processes that adopt a process whose parent died."""
RAY_NAMES: Final = frozenset({"raylet", "gcs_server"})
RAY_PATHS: Final = (
    "/ray/dashboard/",
    "/ray/_private/log_monitor.py",
    "/ray/_private/workers/",
    "/ray/autoscaler/_private/monitor.py",
    "/ray/core/src/ray/",
    "/ray/util/client/server",
    "ray.util.client.server",
)


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """One process of the list."""

    pid: int
    parent_pid: int
    name: str
    command: str

    @property
    def is_ray(self) -> bool:
        """Whether Ray started it: a daemon, or a worker (workers rename themselves)."""
        if self.name in RAY_NAMES or self.command.startswith("ray::"):
            return True
        return any(path in self.command for path in RAY_PATHS)


def seen_processes() -> list[ProcessSeen]:
    """Every process that this user can see, without those that end meanwhile."""
    found = []
    for process in psutil.process_iter(["pid", "ppid", "name", "cmdline", "status"]):
        seen = process.info
        if seen["status"] == psutil.STATUS_ZOMBIE:
            continue
        found.append(
            ProcessSeen(
                pid=seen["pid"],
                parent_pid=seen["ppid"] or 0,
                name=seen["name"] or "",
                command=" ".join(seen["cmdline"] or ()),
            )
        )
    return found


def processes_of(processes: Iterable[ProcessSeen], marks: Collection[str]) -> set[int]:
    """The ids of one cluster's processes: Ray's that name one of `marks`, with all below them.

    Workers rename themselves, so that only their parent names the cluster.
    """
    seen = list(processes)
    found = {
        process.pid
        for process in seen
        if process.is_ray and any(mark in process.command for mark in marks)
    }
    children: dict[int, list[int]] = {}
    for process in seen:
        children.setdefault(process.parent_pid, []).append(process.pid)
    ahead = list(found)
    while ahead:
        below = [pid for pid in children.get(ahead.pop(), ()) if pid not in found]
        found.update(below)
        ahead += below
    return found


def find_strays(processes: Iterable[ProcessSeen], own: Collection[int] = ()) -> list[ProcessSeen]:
    """The Ray processes whose parent is dead, lowest id first, without their children.

    `own` are the processes of a living cluster: `ray start` leaves it without a parent.
    """
    by_pid = {process.pid: process for process in processes}
    strays = [
        process
        for process in by_pid.values()
        if process.is_ray and process.pid not in own and _is_orphan(by_pid.get(process.parent_pid))
    ]
    return sorted(strays, key=lambda process: process.pid)


def _is_orphan(parent: ProcessSeen | None) -> bool:
    if parent is None or parent.name in REAPERS:
        return True
    # In a container the driver may be process 1. Any other process 1 is a reaper.
    return parent.pid == INIT_PID and not parent.name.startswith("python")


def check_strays(processes: Iterable[ProcessSeen], own: Collection[int] = ()) -> Check:
    """Whether there are Ray processes that no living driver and no living cluster owns."""
    name = "stray processes"
    strays = find_strays(processes, own)
    if not strays:
        return Check(name, Status.OK, "none besides the cluster" if own else "none")
    shown = ", ".join(f"{stray.pid} {stray.name}" for stray in strays[:STRAYS_SHOWN_MAX])
    more = f" and {len(strays) - STRAYS_SHOWN_MAX} more" if len(strays) > STRAYS_SHOWN_MAX else ""
    return Check(
        name,
        Status.WARN,
        f"{len(strays)} without a living driver: {shown}{more}",
        "If they belong to a cluster started by `ray start`, leave them. Otherwise a killed driver "
        "left them: stop them by `kill` with these ids. (`ray stop` would end every Ray of yours.)",
    )


def check_leftovers(address: str, names: Sequence[str]) -> Check:
    """Whether detached systems left something in the cluster at `address`."""
    if not names:
        return Check(DETACHED, Status.OK, "none with a dead root")
    options = ("--address", address)
    commands = ", ".join(
        f"`{shell_command('callboard down', name, options=options)}`" for name in names
    )
    return Check(
        DETACHED,
        Status.WARN,
        f"{len(names)} with a dead root, whose hosts may still run: {', '.join(names)}",
        f"Remove the remains: {commands}.",
    )


def leftovers_unknown(reason: str) -> Check:
    """The finding when the cluster cannot be searched from here."""
    return Check(
        DETACHED,
        Status.WARN,
        f"could not be searched: {reason}",
        "Run `callboard doctor` on a node of the cluster, with the cluster's token.",
    )
