"""The heartbeats of one host as its root counts them: its state, and the end of its lease. Pure.

| state | from | the root |
|---|---|---|
| up | an answer | renews the lease with each heartbeat |
| silent | `SILENT_AFTER` heartbeats without an answer | goes on, and gives new work to others |
| given up | `missed_max` of them, or another reason to kill it | renews no more, kills it, waits |

A host that is given up stays so: what waited for it has failed. Heartbeats are counted one by one,
not by time: a root that was suspended itself counts one. At most one of them is on its way.

Invariant: no heartbeat brings back a stamp whose answer came after `answered_s`, and none brings
one back after the host was given up or while the root must not renew.
"""

import enum
import math
from typing import Final, NamedTuple

from ..hosting.lease import takeover_s

__all__ = ["SILENT_AFTER", "Beat", "Change", "HostWatch", "WatchState"]

SILENT_AFTER: Final = 2
"""Heartbeats without an answer after which a host is silent: with one a second, a loss is noticed
after 2 to 3 s."""


class WatchState(enum.Enum):
    """The state of a host in its root's eyes."""

    UP = "up"
    SILENT = "silent"
    GIVEN_UP = "given up"


class Change(enum.Enum):
    """A change of state, for the root's event loop."""

    SILENT = "silent"
    ANSWERS_AGAIN = "answers again"
    GIVEN_UP = "given up"


class Beat(NamedTuple):
    """One heartbeat to send."""

    number: int
    stamp_s: float | None
    """The stamp to bring back; None when this heartbeat renews nothing."""


class HostWatch:
    """The heartbeats of one process. Times are the root's, stamps are the process's."""

    __slots__ = (
        "_is_answered",
        "_missed_max",
        "_number",
        "_stamp_s",
        "_waits",
        "answered_s",
        "lease_s",
        "missed",
        "state",
    )

    def __init__(self, now_s: float, missed_max: int, lease_s: float | None) -> None:
        self._missed_max = missed_max
        self._number = 0
        self._stamp_s: float | None = None
        self._is_answered = True
        """Whether the last heartbeat has its answer."""
        self._waits = False
        """Whether a heartbeat is on its way."""
        self.answered_s = now_s
        """When the last answer came. The start of the process, or its adoption, is the first."""
        self.lease_s = lease_s
        """None for a process without a lease, whose end is always proven."""
        self.missed = 0
        """Heartbeats without an answer, in a row."""
        self.state = WatchState.UP

    def beat(self, now_s: float, renewable_until_s: float) -> tuple[Beat | None, Change | None]:
        """The time of a heartbeat has come; gives the one to send, and the change of state."""
        change = None if self._is_answered else self._miss()
        if self._waits or self.state is WatchState.GIVEN_UP:
            return None, change
        self._number += 1
        self._is_answered, self._waits = False, True
        stamp_s = self._stamp_s if now_s < renewable_until_s else None
        return Beat(self._number, stamp_s), change

    def _miss(self) -> Change | None:
        if self.state is WatchState.GIVEN_UP:
            return None
        self.missed += 1
        if self.missed >= self._missed_max:
            return self.give_up()
        if self.missed >= SILENT_AFTER and self.state is WatchState.UP:
            self.state = WatchState.SILENT
            return Change.SILENT
        return None

    def answered(self, stamp_s: float, now_s: float) -> Change | None:
        """An answer has come."""
        if self.state is WatchState.GIVEN_UP:
            return None
        self._is_answered, self._waits, self.missed = True, False, 0
        self._stamp_s, self.answered_s = stamp_s, now_s
        if self.state is WatchState.SILENT:
            self.state = WatchState.UP
            return Change.ANSWERS_AGAIN
        return None

    def failed(self, number: int) -> None:
        """The call of a heartbeat has failed: it has no answer, and the next one may be sent."""
        if number == self._number:
            self._waits = False

    def give_up(self) -> Change | None:
        """Renew no more; gives the change of state, the first time."""
        if self.state is WatchState.GIVEN_UP:
            return None
        self.state = WatchState.GIVEN_UP
        return Change.GIVEN_UP

    def ends_s(self) -> float:
        """When its lease has surely ended; infinite for a process without one."""
        return math.inf if self.lease_s is None else self.answered_s + takeover_s(self.lease_s)
