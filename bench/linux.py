"""Facts about processes that only Linux shows: descendants, open descriptors."""

import os
import sys
from pathlib import Path

__all__ = ["descendants", "open_descriptors"]

PARENT_FIELD = 1
"""The field of the parent in /proc/PID/stat, after the command's name."""


def descendants() -> int | None:
    """The number of descendants of this process; None where unknown."""
    if sys.platform != "linux":
        return None
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue  # Gone meanwhile.
            children.setdefault(int(fields[PARENT_FIELD]), []).append(int(entry.name))
    found, ahead = 0, [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += len(below)
        ahead += below
    return found


def open_descriptors() -> int | None:
    """The number of open descriptors of this process; None where unknown."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else None
