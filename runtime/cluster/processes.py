"""Ray processes that no living driver owns: what a killed driver or a forgotten cluster left.

`find_strays` judges a list of processes that its caller saw; `seen_processes` looks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import psutil

from .check import Check, Status

__all__ = ["ProcessSeen", "check_strays", "find_strays", "seen_processes"]

STRAYS_SHOWN_MAX: Final = 8
INIT_PID: Final = 1
REAPERS: Final = frozenset({"systemd", "init", "launchd", "tini", "dumb-init", "docker-init"})
"""What adopts a process whose parent died."""
RAY_NAMES: Final = frozenset({"raylet", "gcs_server"})
RAY_PATHS: Final = (
    "/ray/dashboard/",
    "/ray/_private/log_monitor.py",
    "/ray/_private/workers/",
    "/ray/autoscaler/_private/monitor.py",
    "/ray/core/src/ray/",
    "/ray/util/client/server",
)


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """One process as it was when somebody looked."""

    pid: int
    parent_pid: int
    name: str
    command: str

    @property
    def is_ray(self) -> bool:
        """Whether Ray started it: a daemon of its own, or a worker (these rename themselves)."""
        if self.name in RAY_NAMES or self.command.startswith("ray::"):
            return True
        return any(path in self.command for path in RAY_PATHS)


def seen_processes() -> list[ProcessSeen]:
    """Every process this user can see; those that end meanwhile are left out."""
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


def find_strays(processes: Iterable[ProcessSeen]) -> list[ProcessSeen]:
    """The Ray processes whose parent is dead, oldest id first; their children are not listed."""
    by_pid = {process.pid: process for process in processes}
    strays = [
        process
        for process in by_pid.values()
        if process.is_ray and _is_orphan(by_pid.get(process.parent_pid))
    ]
    return sorted(strays, key=lambda process: process.pid)


def _is_orphan(parent: ProcessSeen | None) -> bool:
    if parent is None or parent.name in REAPERS:
        return True
    # In a container the driver itself may be process 1; any other process 1 is a reaper.
    return parent.pid == INIT_PID and not parent.name.startswith("python")


def check_strays(processes: Iterable[ProcessSeen]) -> Check:
    """Whether Ray processes run that no living driver owns."""
    name = "stray processes"
    strays = find_strays(processes)
    if not strays:
        return Check(name, Status.OK, "none")
    shown = ", ".join(f"{stray.pid} {stray.name}" for stray in strays[:STRAYS_SHOWN_MAX])
    more = f" and {len(strays) - STRAYS_SHOWN_MAX} more" if len(strays) > STRAYS_SHOWN_MAX else ""
    return Check(
        name,
        Status.WARN,
        f"{len(strays)} without a living driver: {shown}{more}",
        "If they belong to a cluster that was started by `ray start`, all is well. Otherwise a "
        "killed driver left them: stop them by `ray stop`, or by `kill` with these ids.",
    )
