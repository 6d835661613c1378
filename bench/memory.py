"""The private memory of one process.

The resident size counts pages that processes share (of a forked interpreter, of a library) once per
process. The cost of an actor is private memory, so private pages are counted where the system shows
them.
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

    On Linux these are the private pages. Elsewhere it works for this process only, and gives its
    largest resident size so far.

    Raises:
        OSError: if the process is gone, or may not be read.
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
