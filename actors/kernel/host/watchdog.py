"""The watchdog: finds a handler that blocks the event loop, and names it.

A thread of its own waits for answers of the loop. When none comes, it reads from outside
which worker runs, and at which line of code the loop's thread is.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from typing import Final, Protocol

from callboard.messages.control.control_plane import CONTROL_SLOT, is_driver_slot
from callboard.messages.control.hosts import BlockedLoop
from callboard.messages.core.contract import Contract

from ..asks import Ask
from ..cell import Cell
from ..dispatcher import Worker
from ..inspection.meters import Meters
from ..lifecycle.children import CellChildren
from ..ports import CellDispatcher

__all__ = ["DRIVER", "Watchdog"]

LOGGER: Final = logging.getLogger("callboard.watchdog")
PERIOD_S: Final = 0.1
BLOCKED_S: Final = 0.5
"""A loop without an answer for so long is blocked; a busy loop answers far sooner."""
STACK_FRAMES_MAX: Final = 12
HOOKS: Final = frozenset({Cell.run_started.__name__, Cell.run_stopping.__name__})
STARTS: Final = frozenset({CellChildren.start_child.__name__, CellChildren.start_children.__name__})
DRIVER: Final = "the driver's own code"
ADVICE: Final = (
    "Make a handler that computes for long a `def` handler, which runs in a thread, "
    "or give its actor a host of its own."
)
DRIVER_ADVICE: Final = "Run what takes long in a thread: `await asyncio.to_thread(...)`."


class WatchdogHost(Protocol):
    """The host, for its watchdog."""

    @property
    def slot(self) -> int:
        """Its place in the cluster."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its event loop."""

    @property
    def meters(self) -> Meters:
        """Its counters and measurements."""

    @property
    def dispatcher(self) -> CellDispatcher[Cell]:
        """The dispatcher that runs its actors."""


class Watchdog:
    """Watches the event loop of one host from a thread."""

    def __init__(
        self,
        host: WatchdogHost,
        blocked_s: float = BLOCKED_S,
        on_blocked: Callable[[BlockedLoop], None] | None = None,
        *,
        shares_loop: bool = False,
    ) -> None:
        self._host = host
        self._blocked_s = blocked_s
        self._on_blocked = on_blocked
        self._shares_loop = shares_loop
        self._loop = host.loop
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name=f"callboard-watchdog-{host.name}", daemon=True
        )
        self.blocked: BlockedLoop | None = None
        """The newest finding; it stays when the loop runs again."""
        self.findings = 0
        self._asked_s: float | None = None
        """Since when an answer of the loop is missing; None when none is."""

    def start(self) -> None:
        """Start watching, and measuring the loop's lag."""
        self._host.meters.lag.start()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._host.meters.lag.stop()
        self._stopped.set()

    def blocking(self) -> BlockedLoop | None:
        """What blocks the loop now, if it is blocked; for any thread."""
        asked_s = self._asked_s
        if asked_s is None or self._answered.is_set():
            return None
        seconds = time.monotonic() - asked_s
        return self._found(seconds) if seconds >= self._blocked_s else None

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            self._answered.clear()
            self._asked_s = asked_s = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return  # The loop is closed.
            if not self._answered.wait(self._blocked_s):
                self._report(time.monotonic() - asked_s)
                # One report per block: wait until the loop runs again.
                while not self._answered.wait(PERIOD_S):
                    if self._stopped.is_set():
                        return
            self._asked_s = None

    def _report(self, seconds: float) -> None:
        found = self._found(seconds)
        if found is None:
            return
        self.blocked = found
        self.findings += 1
        LOGGER.warning(
            "the event loop of host %s has not run for %.1f s: %s\n%s%s",
            self._host.name,
            seconds,
            found.text,
            found.stack,
            DRIVER_ADVICE if found.who == DRIVER else ADVICE,
        )
        if self._on_blocked is not None:
            self._on_blocked(found)

    def _found(self, seconds: float) -> BlockedLoop | None:
        """What blocks the loop; None when that belongs to another host of the same loop."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the only way to see it
        cell, doing = _cell_in(frame)
        slot = self._host.slot
        if cell is not None and cell.dispatcher is self._host.dispatcher:
            who = cell.path
        elif self._shares_loop and (cell is not None or slot != CONTROL_SLOT):
            return None  # The watchdog of the host whose code it is reports it.
        elif slot == CONTROL_SLOT or is_driver_slot(slot):
            who, doing = DRIVER, "does not return"
        else:
            who, doing = f"code outside handlers, {_task_of(self._loop)},", "does not return"
        stack = "".join(traceback.format_stack(frame)[-STACK_FRAMES_MAX:]) if frame else ""
        return BlockedLoop(who, doing, seconds, stack)


def _cell_in(frame: types.FrameType | None) -> tuple[Cell | None, str]:
    """The cell whose actor runs, and what it does, by the frames of the loop's thread.

    Read from another thread, so it may just change.
    """
    while frame is not None:
        code, mine = frame.f_code.co_name, frame.f_locals.get("self")
        if isinstance(mine, Worker):
            cell, item = mine.cell, mine.item
            if cell is not None and item is not None:
                message: Contract = item.message if type(item) is Ask else item
                return cell, f"is handling a {type(message).contract_name}"
        elif isinstance(mine, Cell) and code in HOOKS:
            return mine, f"is in its {code.removeprefix('run_')} hook"
        elif isinstance(mine, CellChildren) and code in STARTS:
            cell = frame.f_locals.get("cell")
            if isinstance(cell, Cell):
                return cell, "is being constructed"
        frame = frame.f_back
    return None, ""


def _task_of(loop: asyncio.AbstractEventLoop) -> str:
    task = asyncio.current_task(loop)
    code = None if task is None else task.get_coro()
    return "a callback" if code is None else f"the task {getattr(code, '__qualname__', code)}"
