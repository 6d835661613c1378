"""The restart window: how often a supervisor restarts children. The caller passes the time.

As in OTP, the window slides, and a restart exactly one period ago still counts.
"""

from collections import deque
from typing import final

from callboard.messages.control.spec import Intensity

__all__ = ["RestartWindow"]


@final
class RestartWindow:
    """The restarts of the last `period_s`.

    Invariant: at most one more entry than `intensity.restarts`, so a crash storm costs
    no memory.
    """

    __slots__ = ("_intensity", "_times_s")

    def __init__(self, intensity: Intensity) -> None:
        self._intensity = intensity
        self._times_s: deque[float] = deque(maxlen=intensity.restarts + 1)

    def __len__(self) -> int:
        return len(self._times_s)

    def admit(self, now: float) -> bool:
        """Count a restart at `now`; False when it is one too many."""
        times_s = self._times_s
        oldest_s = now - self._intensity.period_s
        while times_s and times_s[0] < oldest_s:
            times_s.popleft()
        times_s.append(now)
        return len(times_s) <= self._intensity.restarts
