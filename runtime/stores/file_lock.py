"""The lock of the process that writes a file.

It is a lock of the kernel on a file of its own, next to that file: a lock on an SQLite file itself
would be lost when any of the process's descriptors of it is closed.
"""

import contextlib
import datetime as dt
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .private import open_private

__all__ = ["FileLock"]

TRIES_MAX: Final = 3
TRY_AGAIN_S: Final = 0.015


class FileLock:
    """The lock of a file's writer. The kernel releases it when the process ends in any way."""

    def __init__(
        self,
        path: Path,
        *,
        tries: int = TRIES_MAX,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._tries = tries
        self._pause = pause
        self._handle: int | None = None

    def take(self) -> bool:
        """Try to take the lock for `TRY_AGAIN_S` seconds a try; True when that succeeds.

        Raises `OSError`.
        """
        handle = open_private(self._path)
        for tries in range(1, self._tries + 1):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if tries == self._tries:
                    os.close(handle)
                    return False
                # A check for a living writer holds the lock for an instant.
                self._pause(TRY_AGAIN_S)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._handle = handle
        return True

    def owner(self) -> str:
        """The process id of the holder, for people."""
        with contextlib.suppress(OSError):
            return self._path.read_text().strip() or "unknown"
        return "unknown"

    def since(self) -> str:
        """When the holder took it, in the zone of this machine, for people."""
        with contextlib.suppress(OSError):
            taken = dt.datetime.fromtimestamp(self._path.stat().st_mtime).astimezone()
            return taken.isoformat(sep=" ", timespec="seconds")
        return "unknown"

    def release(self) -> None:
        """Release the lock; may be called twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
