"""Timers: messages that an actor sends itself later, once or again and again.

A timer belongs to the incarnation that set it and ends with it. A periodic timer keeps its
first schedule: a late tick does not move the next ones, and missed ticks are skipped.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import UsageError
from callboard.messages.core.ref import check_message

from .asks import Ask
from .cell_port import CellPort
from .monitors.notices import Notice, Notices, check_handled

__all__ = ["DELAY_S_MAX", "PERIOD_S_MIN", "TIMERS_MAX", "Timer", "Timers", "is_timer_notice"]

TIMERS_MAX: Final = 65_536
"""Timers of one actor that have yet to fire, or whose message waits in the mailbox."""
PERIOD_S_MIN: Final = 0.001
"""A shorter period would be a busy loop."""
DELAY_S_MAX: Final = 1e9
"""About 30 years, as with deadlines."""


class Timer:
    """A timer that was set with `Context.send_after` or `Context.send_every`."""

    __slots__ = ("_cell", "_handle", "_message", "_period_s", "_start_s", "_timers", "_turn")

    def __init__(
        self, timers: "Timers", cell: CellPort, message: Contract, start_s: float, period_s: float
    ) -> None:
        self._timers = timers
        self._cell = cell
        self._message = message
        self._start_s = start_s
        self._period_s = period_s
        """0 for a timer that fires once."""
        self._turn = 0
        self._handle: asyncio.TimerHandle | None = timers.call_at(start_s, self._fire)

    @property
    def is_active(self) -> bool:
        """Whether it will still fire."""
        return self._handle is not None

    def cancel(self) -> None:
        """End the timer. A message of it that waits in the mailbox is withdrawn."""
        self.stop()
        self._timers.forget(self._cell.id, self)

    def stop(self) -> None:
        """Do not fire again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()

    def _fire(self) -> None:
        if self._period_s:
            now_s = self._timers.now()
            # Counted from the first tick, not from the last one: otherwise delays would add up.
            passed = math.floor((now_s - self._start_s) / self._period_s)
            # A loop may call a little early; no tick comes twice.
            self._turn = max(self._turn, passed) + 1
            at_s = self._start_s + self._turn * self._period_s
            self._handle = self._timers.call_at(at_s, self._fire)
        else:
            self._handle = None
        self._timers.deliver(self._cell, self, self._message, is_periodic=bool(self._period_s))


class Timers:
    """The timers of one host's actors."""

    __slots__ = ("_notices", "_of", "call_at", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop, notices: Notices) -> None:
        self._notices = notices
        self._of: dict[int, dict[Timer, None]] = {}
        self.call_at: Final[Callable[..., asyncio.TimerHandle]] = loop.call_at
        self.now: Final[Callable[[], float]] = loop.time

    def after(self, cell: CellPort, delay_s: float, message: Contract) -> Timer:
        """Set a timer that fires once; raises `UsageError`."""
        _check("delay_s", delay_s, 0.0)
        return self._set(cell, message, delay_s, 0.0)

    def every(self, cell: CellPort, period_s: float, message: Contract) -> Timer:
        """Set a periodic timer; raises `UsageError`."""
        _check("period_s", period_s, PERIOD_S_MIN)
        return self._set(cell, message, period_s, period_s)

    def _set(self, cell: CellPort, message: Contract, delay_s: float, period_s: float) -> Timer:
        check_message(message)
        check_handled(cell, type(message))
        timers = self._of.setdefault(cell.id, {})
        if len(timers) >= TIMERS_MAX:
            raise UsageError(
                f"{cell.path} has {TIMERS_MAX} timers.",
                advice="Cancel those it no longer needs, or use one timer for many.",
            )
        timer = Timer(self, cell, message, self.now() + delay_s, period_s)
        timers[timer] = None
        return timer

    def deliver(
        self, cell: CellPort, timer: Timer, message: Contract, *, is_periodic: bool
    ) -> None:
        """Put a timer's message into the mailbox."""
        if not is_periodic:
            self._notices.put(cell, timer, message, lambda: self.forget(cell.id, timer))
        elif not self._notices.is_waiting(cell.id, timer) and not cell.is_full:
            self._notices.put(cell, timer, message)

    def forget(self, number: int, timer: Timer) -> None:
        """Remove a timer, and withdraw its message if that waits."""
        timers = self._of.get(number)
        if timers is not None and timers.pop(timer, timer) is None:
            self._notices.withdraw(number, timer)
            if not timers:
                del self._of[number]

    def drop(self, number: int) -> None:
        """End all timers of an incarnation that has ended."""
        if self._of:
            for timer in self._of.pop(number, ()):
                timer.stop()

    def count(self, number: int) -> int:
        """How many timers a cell has."""
        return len(self._of.get(number, ()))

    def close(self) -> None:
        """End all timers: the host closes."""
        for number in list(self._of):
            self.drop(number)


def is_timer_notice(item: object) -> bool:
    """Whether an item in a mailbox is the message of a timer of its actor."""
    return type(item) is Ask and isinstance(item.sink, Notice) and isinstance(item.sink.tag, Timer)


def _check(name: str, value_s: float, least_s: float) -> None:
    is_number = isinstance(value_s, int | float) and not isinstance(value_s, bool)
    if not is_number or not least_s <= value_s <= DELAY_S_MAX:
        raise UsageError(
            f"{name} of a timer is {value_s!r}.",
            advice=f"Pass seconds from {least_s:g} to {DELAY_S_MAX:g}.",
        )
