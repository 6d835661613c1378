"""The thread runner: calls that block, as those of stores do, off the event loop."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["ThreadRunner"]

ReturnT = TypeVar("ReturnT")


class ThreadRunner:
    """Runs calls in at most `threads` threads, in their order. Belongs to one event loop."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(threads, f"callboard-{name}")

    def call(self, function: Callable[..., ReturnT], *args: Any) -> "asyncio.Future[ReturnT]":
        """Run the function in a thread. Being cancelled does not end a call that has begun."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def finish(self, last: Callable[[], object], timeout_s: float) -> None:
        """Run `last` behind the calls that wait, and close; raises nothing.

        A call that hangs does not hang the caller: after `timeout_s` it is left to itself.
        """
        await asyncio.wait((self.call(last),), timeout=timeout_s)
        self.close()

    def close(self) -> None:
        """Take no more calls; those under way come to their end by themselves."""
        self._threads.shutdown(wait=False)
