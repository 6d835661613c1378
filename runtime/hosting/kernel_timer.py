"""A timer by which the kernel ends this process, even one that is stopped or holds Python's lock.

`timer_create(2)` with SIGKILL, on the clock of leases. Python has no function for it.
"""

import ctypes
import ctypes.util
import signal
import sys
from typing import Any, Final

from .boot_time import CLOCK

__all__ = ["KernelTimer"]

SIGEV_SIGNAL: Final = 0
TIMER_ABSTIME: Final = 1
SIGEVENT_INTS: Final = 16
"""The size of a `sigevent` in ints: 64 bytes on every Linux."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal_number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_int * SIGEVENT_INTS),
    )


class _Times(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("at_s", ctypes.c_long),
        ("at_ns", ctypes.c_long),
    )


class KernelTimer:
    """The timer of this process. Raises `OSError` where the kernel or the C library has none."""

    def __init__(self) -> None:
        if sys.platform != "linux" or CLOCK is None:
            raise OSError("only Linux has timers that end a process.")
        self._library = _library()
        self._timer = ctypes.c_void_p()
        event = _Event(signal_number=signal.SIGKILL, notify=SIGEV_SIGNAL)
        if self._library.timer_create(CLOCK, ctypes.byref(event), ctypes.byref(self._timer)):
            raise OSError(ctypes.get_errno(), "timer_create failed")

    def set(self, at_s: float) -> None:
        """End the process at that time of the clock; replaces the time before. 0 is never."""
        whole_s = int(at_s)
        times = _Times(at_s=whole_s, at_ns=int((at_s - whole_s) * 1e9))
        if self._library.timer_settime(self._timer, TIMER_ABSTIME, ctypes.byref(times), None):
            raise OSError(ctypes.get_errno(), "timer_settime failed")


def _library() -> Any:
    for name in (None, "librt.so.1"):  # Before glibc 2.34 in a library of its own.
        try:
            library = ctypes.CDLL(name, use_errno=True)
            if hasattr(library, "timer_create") and hasattr(library, "timer_settime"):
                return library
        except OSError:
            continue
    raise OSError("the C library has no timer_create.")
