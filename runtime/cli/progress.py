"""A line that shows the progress of the work.

It goes to stderr, so that stdout can be piped. On a terminal it is redrawn in place; elsewhere it
is a new line every few seconds, and none for work that is short.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from callboard.messages.core.errors import CallboardError

from ..api.status_lines import StatusLines

if TYPE_CHECKING:
    from ..api.system import System

__all__ = ["ProgressLine"]

QUERY_EVERY_S: Final = 0.5
SILENT_S: Final = 2.0
"""Work that takes no longer writes no line where there is no terminal."""
REFRESH_PER_SECOND: Final = 8


class ProgressLine:
    """The line. `lines` are those for a stderr that is no terminal."""

    def __init__(self, console: Console | None = None, *, lines: StatusLines | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._lines = StatusLines(first_after_s=SILENT_S) if lines is None else lines
        self._spinner = Spinner("dots")
        self._began = time.monotonic()
        self.text = ""

    @contextlib.contextmanager
    def display(self, text: str) -> Iterator[None]:
        """Show the line, with this text first, and remove it at the end."""
        self.update(text)
        if not self._console.is_terminal:
            with self._lines:
                yield
            return
        live = Live(
            self._spinner,
            console=self._console,
            transient=True,
            refresh_per_second=REFRESH_PER_SECOND,
            # Only output to a terminal is moved above the line.
            redirect_stdout=sys.stdout.isatty(),
        )
        with live:
            yield

    def update(self, text: str) -> None:
        """Change the text."""
        self.text = f"{text}  {time.monotonic() - self._began:.1f} s"
        self._lines.show(text)
        self._spinner.update(text=self.text)

    @contextlib.asynccontextmanager
    async def follow(self, system: "System") -> AsyncIterator[None]:
        """Show how many messages the system has handled, until the block ends."""
        task = asyncio.get_running_loop().create_task(self._poll(system))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _poll(self, system: "System") -> None:
        while True:
            with contextlib.suppress(CallboardError):
                view = await system.view(actors_max=0)
                hosts = view.hosts[1:]
                self.update(
                    f"{len(hosts)} hosts, {sum(host.actors for host in hosts):,} actors, "
                    f"{sum(host.handled for host in hosts):,} messages handled"
                    + (f", {view.restarts} hosts replaced" if view.restarts else "")
                )
            await asyncio.sleep(QUERY_EVERY_S)
