"""The memory that belongs to one process alone.

Resident size counts pages shared with other processes (a forked interpreter's, a
library's) once per process; what an actor costs is what nobody shares, so private pages
are counted where the system tells them.
"""

import os
import platform
import resource
from pathlib import Path

__all__ = ["own_bytes"]

KIB = 1_024
LINUX = platform.system() == "Linux"


def own_bytes(pid: int | None = None) -> int:
    """The private bytes of the process `pid`, or of this one.

    On Linux these are the private pages. Elsewhere only this process can be asked, and
    its largest resident size so far is given.

    Raises:
        OSError: if the process is gone, or is not ours to read.
    """
    rollup = Path(f"/proc/{os.getpid() if pid is None else pid}/smaps_rollup")
    if LINUX:
        lines = rollup.read_text().splitlines()
        return KIB * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    if pid not in {None, os.getpid()}:
        msg = f"the memory of process {pid} cannot be read on this system"
        raise OSError(msg)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * KIB
