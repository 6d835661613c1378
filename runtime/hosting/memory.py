"""Memory settings for long-lived processes with many small objects.

Python's default collector walks all objects of a host with 100,000 actors again and again: a young
collection starts every 700 allocations, although messages are hardly ever in cycles. Objects that
exist when a host starts are never garbage, so they are frozen, and young collections are rarer.

Ray's client frees the memory of a lost process in other threads than those that allocated it. The C
library keeps a heap for each thread and does not reuse free memory across heaps: a driver grew by
90 KB for each lost host, of which 7 KB were in use. Two heaps are enough for Ray's threads, and
their free pages can be returned.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import platform
from typing import Final

__all__ = ["GcPause", "limit_heaps", "return_free_pages", "tune_gc"]

YOUNG_OBJECTS: Final = 100_000
MIDDLE_ROUNDS: Final = 10
OLD_ROUNDS: Final = 50
PAUSE_S: Final = 0.5

TRIM_BYTES: Final = 256 << 20
M_TRIM_THRESHOLD: Final = -1
MMAP_BYTES: Final = 32 << 20
M_MMAP_THRESHOLD: Final = -3
HEAPS_MAX: Final = 2
M_ARENA_MAX: Final = -8
"""The parameter of glibc's `mallopt(3)`."""
ARENA_VARIABLES: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
"""The variables by which a user sets the number of heaps."""
IS_GLIBC: Final = platform.libc_ver()[0] == "glibc"


def tune_gc() -> None:
    """Tune this process's collector for actors; called once, when a host or driver starts."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_ROUNDS, OLD_ROUNDS)


class GcPause:
    """Pauses Python's collector while the actors of a lost host come back.

    Ten thousand actors are 100,000 new objects: a young collection of 18 ms, just when other
    actors wait for each of them.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Pause for `PAUSE_S`; a pause under way is not extended.

        Does nothing when the user has switched the collector off.
        """
        if self._timer is None and gc.isenabled():
            gc.disable()
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self.end)

    def end(self) -> None:
        """End the pause, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.enable()


def limit_heaps() -> None:
    """Limit the heaps of the C library, unless the environment sets their number.

    Called before Ray's client starts its threads. Python's own objects are not affected.
    """
    if IS_GLIBC and not any(name in os.environ for name in ARENA_VARIABLES):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, HEAPS_MAX)
            ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)


def return_free_pages() -> None:
    """Return the free pages of the C library to the system: less than 2 ms for 100 MB."""
    if IS_GLIBC:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
