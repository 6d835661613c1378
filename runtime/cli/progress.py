"""A line on the terminal that says how the work is going.

Only on a terminal, and only on stderr: what a command prints on stdout can be piped.
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

if TYPE_CHECKING:
    from ..api.system import System

__all__ = ["Line"]

QUERY_EVERY_S: Final = 0.5
REFRESH_PER_SECOND: Final = 8


class Line:
    """The line; silent where nobody sees it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._spinner = Spinner("dots")
        self._began = time.monotonic()
        self.text = ""

    @property
    def is_shown(self) -> bool:
        """Whether somebody sees it."""
        return self._console.is_terminal

    @contextlib.contextmanager
    def shown(self, text: str) -> Iterator[None]:
        """Show it, with this text first, and take it away at the end."""
        if not self.is_shown:
            yield
            return
        self.say(text)
        live = Live(
            self._spinner,
            console=self._console,
            transient=True,
            refresh_per_second=REFRESH_PER_SECOND,
            # What is printed to a terminal goes above the line; what goes elsewhere stays there.
            redirect_stdout=sys.stdout.isatty(),
        )
        with live:
            yield

    def say(self, text: str) -> None:
        """Change the text."""
        self.text = f"{text}  {time.monotonic() - self._began:.1f} s"
        self._spinner.update(text=self.text)

    @contextlib.asynccontextmanager
    async def following(self, system: "System") -> AsyncIterator[None]:
        """Say how many messages the system has handled, as long as this lasts."""
        if not self.is_shown:
            yield
            return
        task = asyncio.get_running_loop().create_task(self._follow(system))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self, system: "System") -> None:
        while True:
            with contextlib.suppress(CallboardError):
                view = await system.view(actors_max=0)
                hosts = view.hosts[1:]
                self.say(
                    f"{len(hosts)} hosts, {sum(host.actors for host in hosts):,} actors, "
                    f"{sum(host.handled for host in hosts):,} messages handled"
                    + (f", {view.restarts} hosts replaced" if view.restarts else "")
                )
            await asyncio.sleep(QUERY_EVERY_S)
