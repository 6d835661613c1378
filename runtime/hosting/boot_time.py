"""The clock of leases: it also counts the time of a suspended machine, where one does."""

import time
from typing import Final

__all__ = ["CLOCK", "boot_time_s"]

CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
"""Linux's clock since boot; None on other platforms, whose monotonic clock may stand still while
the machine sleeps."""


def boot_time_s() -> float:
    """Seconds since some fixed moment of this machine."""
    return time.monotonic() if CLOCK is None else time.clock_gettime(CLOCK)
