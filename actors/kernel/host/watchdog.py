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
from collections.abc import Callable, Collection
from typing import Final, NamedTuple, Protocol

from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.core.contract import Contract

from ..asks import Ask
from ..dispatcher import Worker
from ..inspection.meters import Meters

__all__ = ["Blocked", "Watchdog"]

LOGGER: Final = logging.getLogger("callboard.watchdog")
PERIOD_S: Final = 0.1
BLOCKED_S: Final = 0.5
"""A loop without an answer for so long is blocked; a busy loop answers far sooner."""
NO_ACTOR: Final = "no actor"
STACK_FRAMES_MAX: Final = 12


class Blocked(NamedTuple):
    """One blocked loop: the actor, the contract, for how long, and the stack."""

    actor: str
    contract: str
    seconds: float
    stack: str


class RunsWorkers(Protocol):
    """A dispatcher, for the watchdog."""

    @property
    def workers(self) -> Collection[Worker]:
        """The tasks that run handlers."""


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
    def dispatcher(self) -> RunsWorkers:
        """The dispatcher that runs its actors."""


class Watchdog:
    """Watches the event loop of one host from a thread."""

    def __init__(
        self,
        host: WatchdogHost,
        blocked_s: float = BLOCKED_S,
        on_blocked: Callable[[Blocked], None] | None = None,
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
        self.blocked: Blocked | None = None
        """The newest finding; it stays when the loop runs again."""
        self.findings = 0

    def start(self) -> None:
        """Start watching, and measuring the loop's lag."""
        self._host.meters.lag.start()
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._host.meters.lag.stop()
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            self._answered.clear()
            asked_s = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return  # The loop is closed.
            if self._answered.wait(self._blocked_s):
                continue
            self._report(time.monotonic() - asked_s)
            # One report per block: wait until the loop runs again.
            while not self._answered.wait(PERIOD_S):
                if self._stopped.is_set():
                    return

    def _report(self, seconds: float) -> None:
        actor, contract = self._suspect()
        if actor == NO_ACTOR and self._host.slot != CONTROL_SLOT and self._shares_loop:
            return  # Another host on this loop runs the handler; its own watchdog reports it.
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the only way to see it
        stack = "".join(traceback.format_stack(frame)[-STACK_FRAMES_MAX:]) if frame else ""
        self.blocked = Blocked(actor, contract, seconds, stack)
        self.findings += 1
        LOGGER.warning(
            "the event loop of host %s has not run for %.1f s: %s is handling %s\n%s"
            "Make a handler that computes for long a `def` handler, which runs in a thread, "
            "or give its actor a host of its own.",
            self._host.name,
            seconds,
            actor,
            contract,
            stack,
        )
        if self._on_blocked is not None:
            self._on_blocked(self.blocked)

    def _suspect(self) -> tuple[str, str]:
        """The actor that runs, and its message; read from another thread, so it may just change."""
        task = asyncio.current_task(self._loop)
        for worker in list(self._host.dispatcher.workers):
            cell, item = worker.cell, worker.item
            if worker.task is task and cell is not None and item is not None:
                message: Contract = item.message if type(item) is Ask else item
                return cell.path, type(message).contract_name
        return NO_ACTOR, "nothing"
