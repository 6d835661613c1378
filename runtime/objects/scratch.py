"""A private folder for temporary files, which goes at the latest with the next process.

A process that is killed cannot remove its folder. So a folder has a lock file, which its process
holds; whoever makes a folder removes those whose locks nobody holds.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["ScratchFolder"]

PREFIX: Final = "callboard-segments-"
NEW: Final = "callboard-new-"
LOCK: Final = ".lock"


class ScratchFolder:
    """A folder below the temporary folder of the system, until `remove`."""

    def __init__(self) -> None:
        """Raises `OSError`."""
        begun = Path(tempfile.mkdtemp(prefix=NEW))
        self._lock: int | None = os.open(begun / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # It gets its name with its lock, so that nobody takes it for one that is left over.
        self.path: Final = begun.with_name(PREFIX + begun.name.removeprefix(NEW))
        begun.rename(self.path)
        remove_abandoned(begun.parent)

    def remove(self) -> None:
        """Remove the folder; may be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of processes that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        # Those of other users cannot be opened, and stay.
        with contextlib.suppress(OSError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
