"""Memory of processes that hold many small, long-lived objects, and live long.

A host with 100,000 actors lets Python's default collector walk all of them again and
again: new objects trigger a young collection every 700 allocations, and messages are
hardly ever in cycles. What exists when a host begins is never garbage, and young
collections may be rarer.

Ray's client frees what it had for a lost process in other threads than it was made in. The
C library keeps heaps by thread, and what lies free in eight of them is not used again by a
ninth: a driver grew by 90 KB for each host that it lost, of which 7 KB were in use. Two heaps
are enough for what Ray's threads do, and their free pages can be given back.
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

HEAPS_MAX: Final = 2
M_ARENA_MAX: Final = -8
"""Of glibc's `mallopt(3)`."""
ARENA_VARIABLES: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
"""With these a user says it."""
IS_GLIBC: Final = platform.libc_ver()[0] == "glibc"


def tune_gc() -> None:
    """Set this process's collector for actors. Called once, when a host or driver starts."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_ROUNDS, OLD_ROUNDS)


class GcPause:
    """Keeps Python's collector from running while actors that are missed come back.

    Ten thousand of them are 100,000 new objects: a young collection of 18 ms, just when each
    is asked for something.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Pause for `PAUSE_S`. One that is under way is not made longer.

        Nothing happens when the user has switched the collector off.
        """
        if self._timer is None and gc.isenabled():
            gc.disable()
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self.end)

    def end(self) -> None:
        """Let it run again, if it was paused."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.enable()


def limit_heaps() -> None:
    """Let the C library keep few heaps from now on, unless the environment says how many.

    Called before Ray's client starts its threads. Python's own objects are not concerned.
    """
    if IS_GLIBC and not any(name in os.environ for name in ARENA_VARIABLES):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, HEAPS_MAX)


def return_free_pages() -> None:
    """Give the system back what the C library keeps free: less than 2 ms for 100 MB."""
    if IS_GLIBC:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
