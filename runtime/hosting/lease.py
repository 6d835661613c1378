"""The lease of a process that runs actors: its right to run, which a root renews. Pure.

The root's heartbeats renew it. Each answer to a heartbeat has the time of the process's own clock
(a stamp). The next heartbeat brings that stamp back, and the lease counts from it. So a heartbeat
that was on its way for long renews nothing new, and no clock is compared with another one.

The process ends when its lease has ended. The root starts the slot elsewhere, without a proof that
the process has ended, once `takeover_s` has passed since it got the last answer: that was after the
stamp of the answer. The invariant, for clocks whose rates are wrong by `CLOCK_RATE_MAX` at most:

    lease_s * (1 + LATEST_SHARE) / (1 - CLOCK_RATE_MAX) < takeover_s / (1 + CLOCK_RATE_MAX)
"""

from typing import Final

__all__ = ["CLOCK_RATE_MAX", "LATEST_SHARE", "MARGIN_SHARE", "Lease", "takeover_s"]

CLOCK_RATE_MAX: Final = 0.01
"""The most that a clock may run too fast or too slow; real ones are off by 0.0001."""
LATEST_SHARE: Final = 0.04
"""The share of the lease after which the kernel ends a process that has not ended itself."""
MARGIN_SHARE: Final = 0.2
"""The share of the lease that a root waits in addition."""


class Lease:
    """The lease of one process, on its own clock. It begins with the process."""

    __slots__ = ("ends_s", "lease_s")

    def __init__(self, lease_s: float, now_s: float) -> None:
        self.lease_s = lease_s
        self.ends_s = now_s + lease_s
        """When the process ends itself."""

    @property
    def latest_s(self) -> float:
        """When the kernel ends the process, even if it is stopped."""
        return self.ends_s + LATEST_SHARE * self.lease_s

    def renew(self, stamp_s: float, now_s: float) -> None:
        """A heartbeat brings a stamp back; a lease that has ended is not renewed."""
        if now_s < self.ends_s:
            self.ends_s = max(self.ends_s, min(stamp_s, now_s) + self.lease_s)

    def has_ended(self, now_s: float) -> bool:
        """Whether the process must end."""
        return now_s >= self.ends_s


def takeover_s(lease_s: float) -> float:
    """How long after the last answer of a process its slot may be taken over without a proof."""
    return lease_s * (1.0 + MARGIN_SHARE)
