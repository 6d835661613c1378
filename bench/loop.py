"""The event loop of every asyncio side: uvloop where it is installed.

With a slower loop for a peer, a bench would compare loops.
"""

import asyncio
import importlib
import importlib.util
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run_on_fastest_loop"]

Result = TypeVar("Result")


def run_on_fastest_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Run `main` to its end, and return its result."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    uvloop = importlib.import_module("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
