"""What an embedded Ray has started in this process' name, and that none of it stays.

Ray ends its own processes, but not always in time: an agent whose raylet was killed before
it could say goodbye lives on for most of a minute. Only processes that descend from this
one and run Ray's own programs are looked at, each by its id and start time.
"""

import contextlib
import pathlib
from typing import Final

import psutil
import ray

__all__ = ["end_processes_of_ray", "ray_processes"]

GOODBYE_S: Final = 0.5
"""How long Ray's processes may take to end by themselves once Ray was told to."""
KILLED_S: Final = 2.0


def ray_processes() -> list[psutil.Process]:
    """Ray's processes below this one; not other children of the driver's."""
    programs = str(pathlib.Path(ray.__file__).parent)
    children: list[psutil.Process] = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(programs in part for part in child.cmdline()):
                children += [child, *child.children(recursive=True)]
    return children


def end_processes_of_ray(children: list[psutil.Process]) -> None:
    """Wait shortly for the processes to end, then end them."""
    _, alive = psutil.wait_procs(children, timeout=GOODBYE_S)
    for process in alive:
        # A process id that was given to somebody else meanwhile is not touched: psutil
        # compares start times.
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=KILLED_S)
