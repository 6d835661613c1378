"""The logs of one host: its ring, its way to the control host, and there the answer to queries.

While nobody logs, nothing runs. A line begins a task that waits for some more, sends them in
batches, and ends. What was not sent yet is lost with the host: `SEND_S` and the time of a batch.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, cast

from callboard.actors.kernel.actor import handler
from callboard.actors.kernel.cell import Cell
from callboard.actors.kernel.host.extension import Extension
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.ports import RoleHost
from callboard.actors.streaming.messages import LogLine
from callboard.messages.control.control_plane import CONTROL_CELL, CONTROL_SLOT
from callboard.messages.control.logs import LogRow, LogRows, LogsPage, QueryLogs
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address

from .core import LogRing, SystemLogs
from .tap import open_tap

__all__ = ["HostLogs"]

SEND_S: Final = 0.2
"""Lines wait this long for others."""
BATCH_LINES: Final = 200
STOPPING_S: Final = 0.5
PATIENCE_S: Final = 2.0
"""How long the control host may have no room; then the batch is sent again."""
CHANNEL: Final = "logs:"


class HostLogs(Extension):
    """The lines of one host, and on the control host those of all."""

    def __init__(self, host: RoleHost[Cell]) -> None:
        self._role_host: Final = host
        self._loop: Final = asyncio.get_running_loop()
        self._lock: Final = threading.Lock()
        self._ring: Final = LogRing()
        self._sent = 0
        self._task: asyncio.Task[None] | None = None
        self._is_due = False
        self._is_closed = False
        self._close_tap: Callable[[], None] | None = None
        self.system: Final = SystemLogs()
        """The lines of all hosts, on the control host."""

    @property
    def host(self) -> Host:
        """See `Recorded`."""
        return cast("Host", self._role_host)

    def begin(self) -> None:
        """Take the lines of this process from now on."""
        self._close_tap = open_tap(self)

    def add(self, row: LogRow) -> None:
        """See `Recorded`."""
        with self._lock:
            self._ring.add(row)
            is_first, self._is_due = not self._is_due, True
        if is_first and not self._is_closed:
            with contextlib.suppress(RuntimeError):  # The loop of the host is closed.
                self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if not self._is_closed and (self._task is None or self._task.done()):
            self._task = self.host.start_task(self._send_soon())

    async def _send_soon(self) -> None:
        await asyncio.sleep(SEND_S)
        await self._send_all()

    async def _send_all(self) -> None:
        while (batch := self._next_batch()) is not None:
            if self.host.slot == CONTROL_SLOT:
                self.system.take(batch)
            else:
                try:
                    to = Address(CONTROL_SLOT, CONTROL_CELL)
                    await self.host.send(to, batch, PATIENCE_S)
                except (CallboardError, TimeoutError):
                    await asyncio.sleep(PATIENCE_S)
                    continue
            self._sent = batch.first + len(batch.rows) - 1
            for row in batch.rows:
                self._publish(row)

    def _next_batch(self) -> LogRows | None:
        with self._lock:
            lines = list(self._ring.since(self._sent))[::-1][:BATCH_LINES]
            self._is_due = bool(lines)
        if not lines:
            return None
        rows = tuple(line.row for line in lines)
        host = self.host
        return LogRows(slot=host.slot, epoch=host.epoch, first=lines[0].number, rows=rows)

    def _publish(self, row: LogRow) -> None:
        line = LogLine(
            path=row.path, level=row.level, time=row.time, text=row.text, execution=row.execution
        )
        self.host.publishing.publish(CHANNEL + row.place, line, source=row.place, of_system=True)

    @handler
    async def take_rows(self, batch: LogRows) -> None:
        """Take the lines of another host; only the control host gets any."""
        self.system.take(batch)

    @handler
    async def query_logs(self, query: QueryLogs) -> LogsPage:
        """Answer a query, on the control host."""
        return self.system.page(query)

    def peer_opened(self, slot: int) -> None:
        """The next root is there: send what it does not have."""
        if slot == CONTROL_SLOT and self._ring.newest > self._sent:
            self._start()

    async def stopping(self) -> None:
        """Send the last lines, as far as there is time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPPING_S):
                await self._send_all()

    def peer_lost(self, slot: int, epoch: float) -> None:
        """The next root gets all lines that this host still has."""
        if slot == CONTROL_SLOT:
            with self._lock:
                self._sent = 0

    def close(self) -> None:
        """See `Extension`."""
        self._is_closed = True
        if self._close_tap is not None:
            self._close_tap()
