"""How many attempts an executor should hold at once: enough to keep it busy, and no more.

An executor is one host's part of a pool, some milliseconds away. With only as many attempts as
agents, tiny sub-tasks spend their time under way. With many more, slow ones queue behind each
other while another executor is idle. The rule by which networks fill a pipe (BBR's) fits both:
the executor's rate, times the round trip, plus the work of `QUEUED_S`.

    10 microseconds a sub-task  ->  up to `CREDIT_MAX` under way
    10 ms, 4 agents             ->  4 running, 8 queued
     1 s, 4 agents              ->  4 running, none queued

Measured in rounds: a round ends when an attempt that was sent within it has its outcome. Pure.

Invariants: the credit is at least the number of agents; only rounds in which all agents had work
lower the measured rate, so an idle executor does not count as slow.
"""

from typing import Final

__all__ = ["CREDIT_MAX", "ConcurrencyControl"]

QUEUED_S: Final = 0.02
"""The work that waits at an executor, in seconds: a few times the pauses of a busy driver."""

CREDIT_MAX: Final = 2_048
"""The most attempts at an executor beyond one per agent; less than the mailbox of a pool."""

GROWTH_MAX: Final = 4
"""The largest factor by which the credit grows in a round: a first measurement may be wrong."""

SINK_SHARE: Final = 0.25
"""The share of a lower measurement in the new rate."""

TRIP_RISE_SHARE: Final = 0.1
"""The same for a longer round trip, which may only be a queue of our own attempts."""

TRIP_OVER_BEST_S: Final = 0.08
"""A round trip that exceeds the best one by more than this shows a queue."""


class ConcurrencyControl:
    """The measurements of one executor and the credit that follows from them."""

    __slots__ = (
        "_best_trip_s",
        "_round_delivered",
        "_round_started_s",
        "_trip_s",
        "agents",
        "credit",
        "rate_per_s",
    )

    def __init__(self, agents: int) -> None:
        self.agents = agents
        self.credit = agents
        self.rate_per_s = 0.0
        self._trip_s = 0.0
        self._best_trip_s = 0.0
        self._round_started_s = -1.0
        self._round_delivered = 0

    @property
    def round_trip_s(self) -> float:
        """The round trip of an attempt in seconds; 0.0 before the first outcome."""
        return self._trip_s

    def sent(self, now: float, delivered: int) -> None:
        """Begin a round: the executor was idle and has work again."""
        self._round_started_s = now
        self._round_delivered = delivered

    def came_back(self, now: float, *, sent_s: float, delivered: int, was_busy: bool) -> int:
        """Note the outcome of an attempt that was sent at `sent_s`; gives the credit.

        `delivered` counts all outcomes of the executor so far; `was_busy` says whether every
        agent had work when the attempt was sent.
        """
        if sent_s < self._round_started_s:
            return self.credit
        elapsed_s = now - self._round_started_s
        if elapsed_s <= 0.0:
            return self.credit
        rate = (delivered - self._round_delivered) / elapsed_s
        if rate > self.rate_per_s:
            self.rate_per_s = rate
        elif was_busy:
            self.rate_per_s += (rate - self.rate_per_s) * SINK_SHARE
        self._measure_trip(now - sent_s)
        self._round_started_s = now
        self._round_delivered = delivered
        wanted = int(self.rate_per_s * (self._trip_s + QUEUED_S) + 0.5)
        grown = min(wanted, self.credit * GROWTH_MAX, self.agents + CREDIT_MAX)
        self.credit = max(self.agents, grown)
        return self.credit

    def _measure_trip(self, trip_s: float) -> None:
        if not self._best_trip_s or trip_s < self._best_trip_s:
            self._best_trip_s = trip_s
        if trip_s <= self._trip_s or not self._trip_s:
            self._trip_s = trip_s
        else:
            risen = self._trip_s + (trip_s - self._trip_s) * TRIP_RISE_SHARE
            self._trip_s = min(risen, self._best_trip_s + TRIP_OVER_BEST_S)
