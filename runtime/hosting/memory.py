"""Memory settings for long-lived processes with many small objects.

Python's default collector walks all objects of a host with 100,000 actors again and again: a young
collection starts every 700 allocations, although messages are hardly ever in cycles. Objects that
exist when a host starts are never garbage, so they are frozen, and young collections are rarer.

Ray's client frees the memory of a lost process in other threads than those that allocated it. The C
library keeps a heap for each thread and does not reuse free memory across heaps: a driver grew by
90 KB for each lost host, of which 7 KB were in use. Two heaps are enough for Ray's threads, and
their free pages can be returned.

By default the C library returns 128 KiB of free memory to the system at once, and maps each larger
block. A frame with a part of 64 KiB needs three such blocks for a moment: the system gave and took
the pages of each frame, which took 110 of 140 µs; and a value of 60 MB took twice the time of its
parts. So a process takes all blocks from its heap and keeps free memory. What it keeps beyond
`FREE_BYTES_KEPT` a thread returns, also where smaller blocks lie above it.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import platform
import threading
import time
from collections.abc import Mapping
from typing import Final

__all__ = ["GcPause", "return_free_pages", "tune_gc", "tune_heap"]

YOUNG_OBJECTS: Final = 100_000
MIDDLE_ROUNDS: Final = 10
OLD_ROUNDS: Final = 50
PAUSE_S: Final = 0.5

HEAPS_MAX: Final = 2
FREE_BYTES_KEPT: Final = 256 << 20
"""Enough for the copies of a message of the largest size, in both directions."""
RETURN_EVERY_S: Final = 5.0
FEW_HEAPS: Final = {"MALLOC_ARENA_MAX": (-8, HEAPS_MAX)}
"""A parameter of glibc's `mallopt(3)`, by the variable with which a user sets it."""
KEPT: Final = {
    "MALLOC_TRIM_THRESHOLD_": (-1, FREE_BYTES_KEPT),
    "MALLOC_MMAP_MAX_": (-4, 0),
}
"""Those that keep memory, as above."""
ALL_VARIABLE: Final = "GLIBC_TUNABLES"
"""The variable by which a user sets any of them."""
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


def tune_heap() -> None:
    """Tune the memory of the C library, except for what the environment sets.

    Called before Ray's client starts its threads; later calls do nothing. Python's own small
    objects are not affected.
    """
    if not IS_GLIBC or ALL_VARIABLE in os.environ or _Returning.is_started:
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        _set(libc, FEW_HEAPS)
        libc.mallinfo2.restype = _MallocInfo  # glibc 2.33; without it no memory is kept.
        _Returning(libc).start()
        _set(libc, KEPT)


def _set(libc: ctypes.CDLL, parameters: Mapping[str, tuple[int, int]]) -> None:
    for variable, (parameter, value) in parameters.items():
        if variable not in os.environ:
            libc.mallopt(parameter, value)


class _MallocInfo(ctypes.Structure):
    """See `mallinfo2(3)`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class _Returning(threading.Thread):
    """Returns the free memory of this process that it keeps beyond `FREE_BYTES_KEPT`."""

    is_started = False

    def __init__(self, libc: ctypes.CDLL) -> None:
        super().__init__(name="callboard-free-memory", daemon=True)
        self._libc = libc

    def start(self) -> None:
        """Start it; there is one in a process."""
        type(self).is_started = True
        super().start()

    def run(self) -> None:
        """Look again and again."""
        returned = 0
        while True:
            time.sleep(RETURN_EVERY_S)
            # Free memory counts as free also after its pages have been returned.
            returned = min(returned, self._free_bytes())
            if self._free_bytes() - returned > FREE_BYTES_KEPT:
                return_free_pages()
                returned = self._free_bytes()

    def _free_bytes(self) -> int:
        info: _MallocInfo = self._libc.mallinfo2()
        free: int = info.fordblks
        return free


def return_free_pages() -> None:
    """Return the free pages of the C library to the system: less than 2 ms for 100 MB."""
    if IS_GLIBC:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
