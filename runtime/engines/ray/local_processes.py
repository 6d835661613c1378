"""Ends the processes that an embedded Ray has started for this process.

Ray ends its own processes, but not always in time: an agent whose raylet was killed lives on for
most of a minute. Only descendants of this process that run Ray's programs are ended, each
identified by its id and start time.
"""

import contextlib
import pathlib
from typing import Final

import psutil
import ray

__all__ = ["end_processes_of_ray", "ray_processes"]

GOODBYE_S: Final = 0.5
"""How long Ray's processes may take to end after Ray's shutdown."""
KILLED_S: Final = 2.0


def ray_processes() -> list[psutil.Process]:
    """Ray's processes below this process, without other children of the driver."""
    programs = str(pathlib.Path(ray.__file__).parent)
    children: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(programs in part for part in child.cmdline()):
                children += [child, *child.children(recursive=True)]
    return children


def end_processes_of_ray(children: list[psutil.Process]) -> None:
    """Wait briefly for the processes to end, then kill the rest."""
    _, alive = psutil.wait_procs(children, timeout=GOODBYE_S)
    for process in alive:
        # A process with a reused id is safe: psutil compares start times.
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=KILLED_S)
