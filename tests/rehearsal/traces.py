"""What of Ray and Callboard runs and lies on a machine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

__all__ = ["Traces", "left_of", "traces_of"]

DAEMONS: Final = re.compile(
    r"/(?:raylet/raylet|gcs/gcs_server|ray/dashboard|ray/_private)\b|-dashboard-"
)
WORKERS: Final = re.compile(r"ray::(?:\S*:)?(\w+)")
RAYS_OWN: Final = ("DashboardAgent", "RuntimeEnvAgent", "IDLE")


@final
@dataclass(frozen=True, slots=True)
class Traces:
    """Of one machine, by kind, as a person would name them."""

    hosts: tuple[str, ...] = ()
    """Callboard's processes: hosts, roots, standbys."""
    ray: tuple[str, ...] = ()
    """Ray's daemons and agents, and its workers that wait for work."""
    files: tuple[str, ...] = ()
    """Sockets and folders of Callboard."""


def traces_of(processes: Mapping[int, str], temporary: Path) -> Traces:
    """The traces among processes (command lines) and in a folder for temporary files."""
    workers = [match[1] for line in processes.values() if (match := WORKERS.match(line))]
    daemons = [match[0] for line in processes.values() if (match := DAEMONS.search(line))]
    return Traces(
        hosts=tuple(sorted(name for name in workers if name not in RAYS_OWN)),
        ray=(*sorted(daemons), *sorted(name for name in workers if name in RAYS_OWN)),
        files=tuple(
            sorted(str(path.relative_to(temporary)) for path in temporary.glob("callboard-*/*"))
        ),
    )


def left_of(now: Mapping[str, Traces]) -> list[str]:
    """What a system that has been stopped has left, machine by machine."""
    left = []
    for name, traces in now.items():
        if traces.hosts:
            left.append(f"{', '.join(traces.hosts)} on {name}")
        if traces.files:
            left.append(f"{', '.join(traces.files)} on {name}")
    return left
