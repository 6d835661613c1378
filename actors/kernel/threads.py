"""The thread runner: it runs blocking calls, as those of stores, outside the event loop."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["ThreadRunner"]

ReturnT = TypeVar("ReturnT")


class ThreadRunner:
    """Runs calls in at most `threads` threads, in their order. It belongs to one event loop."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(threads, f"callboard-{name}")

    def call(self, function: Callable[..., ReturnT], *args: Any) -> "asyncio.Future[ReturnT]":
        """Run the function in a thread. A cancellation does not end a call that has begun."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def finish(self, last: Callable[[], object], timeout_s: float) -> None:
        """Run `last` after the waiting calls, and close; raises nothing.

        A call that hangs does not block the caller: after `timeout_s` the caller goes on.
        """
        await asyncio.wait((self.call(last),), timeout=timeout_s)
        self.close()

    def close(self) -> None:
        """Accept no more calls; the calls under way run to their end."""
        self._threads.shutdown(wait=False)
