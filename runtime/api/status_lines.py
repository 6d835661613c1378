"""Status lines: signs of life of long work where no terminal shows a progress bar.

A thread of its own writes them. So they keep coming while Ray starts, while the event loop is busy,
and while the system stops.

Invariants: a line comes at least every `every_s` seconds, from the first on; only `show(now=True)`
writes more. A reader that has gone away ends the lines, one that does not read delays them, and
neither stops the work.
"""

import sys
import threading
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self, TextIO

from callboard.messages.jobs.updates import (
    ExecutionUpdate,
    Finished,
    PhaseChanged,
    Progressed,
)

__all__ = ["StatusLines"]

EVERY_S: Final = 5.0
GOODBYE_S: Final = 1.0
"""How long the last line may take: its reader may not read."""


class StatusLines:
    """Writes the newest status as a line, at least every `every_s` seconds, until the block ends.

        with StatusLines() as lines:
            lines.show("starting")
            ...
            async for update in lines.follow(handle.updates()):
                ...

    `stream` is standard error by default. The first line comes after `first_after_s` seconds, so
    that short work stays silent, or at once.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every_s: float = EVERY_S,
        first_after_s: float = 0.0,
    ) -> None:
        self._stream = stream
        self._every_s = every_s
        self._began_s = time.monotonic()
        self._due_s = self._began_s + first_after_s
        self._text = ""
        self._is_urgent = False
        self._is_over = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="status-lines", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(GOODBYE_S)

    def show(self, text: str, *, now: bool = False) -> None:
        """Set the status: for the next line, or with `now` for a line at once."""
        with self._changed:
            is_first = not self._text
            self._text = text
            self._is_urgent |= now
            if is_first or now:
                self._changed.notify()

    async def follow(
        self, updates: AsyncIterator[ExecutionUpdate]
    ) -> AsyncIterator[ExecutionUpdate]:
        """Pass on the updates of an execution, and show its phase and its sub-tasks."""
        phase, counts = "", ""
        async for update in updates:
            if isinstance(update, PhaseChanged):
                phase = str(update.phase)
            elif isinstance(update, Progressed):
                counts = counts_of(update)
            elif isinstance(update, Finished):
                phase = str(update.status)
            text = ", ".join(part for part in (phase, counts) if part)
            self.show(text, now=isinstance(update, Finished))
            yield update

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_due():
                    if self._is_over:
                        return
                    left_s = self._due_s - time.monotonic()
                    self._changed.wait(max(0.0, left_s) if self._text else None)
                text, self._is_urgent = self._text, False
                now_s = time.monotonic()
                self._due_s = now_s + self._every_s
            # Without the lock: a reader that does not read must not stop the work.
            if not self._write(f"{now_s - self._began_s:5.1f} s  {text}\n"):
                return

    def _is_due(self) -> bool:
        if self._is_urgent or not self._text:
            return self._is_urgent
        return not self._is_over and time.monotonic() >= self._due_s

    def _write(self, line: str) -> bool:
        stream = sys.stderr if self._stream is None else self._stream
        try:
            stream.write(line)
            stream.flush()
        except (OSError, ValueError):
            return False  # Nobody reads any more.
        return True


def counts_of(update: Progressed) -> str:
    """The sub-tasks of an execution in a few words."""
    parts = [f"{update.done:,} of {update.total:,} sub-tasks"]
    if update.running:
        parts.append(f"{update.running:,} running")
    if update.failed:
        parts.append(f"{update.failed:,} failed")
    if update.in_doubt:
        parts.append(f"{update.in_doubt:,} in doubt")
    if update.retries:
        parts.append(f"{update.retries:,} retries")
    return ", ".join(parts)
