"""How often and how soon: the restart window and the back-off, with time passed in.

Both are arithmetic on numbers that the caller brings. The window is OTP's: it slides,
and a restart exactly one period ago still counts.
"""

from collections import deque
from typing import final

from callboard.messages.spec import BACKOFF_STEP_S, Backoff, Intensity

__all__ = ["RestartWindow", "backoff_base_s", "backoff_delay_s"]


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


def backoff_base_s(backoff: Backoff, consecutive: int) -> float:
    """The delay of the `consecutive`-th restart in a row (from 1), without jitter."""
    assert consecutive >= 1, "restarts are counted from 1"
    first_s, power = backoff.min_s, consecutive - 1
    if first_s == 0.0:
        if consecutive == 1:
            return 0.0
        first_s, power = BACKOFF_STEP_S, consecutive - 2
    try:
        # `float` first: an int factor would grow without a bound instead of overflowing.
        grown_s = first_s * float(backoff.factor) ** power
    except OverflowError:
        return backoff.max_s
    return min(backoff.max_s, grown_s)


def backoff_delay_s(backoff: Backoff, consecutive: int, random: float) -> float:
    """The delay with jitter: `random` in [0, 1) shortens it by at most `jitter`."""
    return backoff_base_s(backoff, consecutive) * (1.0 - backoff.jitter * random)
