"""How many attempts an executor should hold at once: enough to keep it busy, no more.

An executor is one host's part of a pool, some milliseconds away. If it holds only as many
attempts as it has agents, tiny sub-tasks spend their time under way; if it holds many
more, slow ones queue behind each other while another executor is idle. What fits both is the
rule by which networks fill a pipe (BBR's): the rate at which the executor delivers, times the
round trip, plus what it works off within `QUEUED_S`.

    10 microseconds a sub-task  ->  up to `CREDIT_MAX` under way
    10 ms, 4 agents             ->  4 running, 8 queued
     1 s, 4 agents              ->  4 running, none queued

Measured in rounds: a round ends when something that was sent within it comes back. Pure.

Invariants: the credit is at least the number of agents; a measured rate sinks only by
rounds in which all agents had work, so an executor is not thought slow for having been idle.
"""

from typing import Final

__all__ = ["CREDIT_MAX", "ConcurrencyControl"]

QUEUED_S: Final = 0.02
"""The work that waits at an executor: a few times the pauses of a busy driver."""

CREDIT_MAX: Final = 2_048
"""What an executor holds at most beyond one for each agent; below the mailbox of a pool cell."""

GROWTH_MAX: Final = 4
"""How much the credit may grow in a round; a first impression may be wrong."""

SINK_SHARE: Final = 0.25
"""How much of a lower measurement is believed at once."""

TRIP_RISE_SHARE: Final = 0.1
"""The same for a longer round trip: it may only be a queue that we caused."""

TRIP_OVER_BEST_S: Final = 0.08
"""A trip longer than the best one by more than this is a queue, and no reason for more."""


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
        """How long an attempt takes from here to here; 0.0 before the first."""
        return self._trip_s

    def sent(self, now: float, delivered: int) -> None:
        """The executor was idle and has work again: a round begins."""
        self._round_started_s = now
        self._round_delivered = delivered

    def came_back(self, now: float, *, sent_s: float, delivered: int, was_busy: bool) -> int:
        """An attempt sent at `sent_s` has an outcome; gives the credit.

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
