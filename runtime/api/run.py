"""The blocking entry of driver scripts: runs one async function with a system."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, Unpack

from callboard.messages.core.errors import UsageError

from ..hosting.memory import tune_gc
from ..hosting.settings import Settings, SettingsOptions
from .interrupts import end_in_one_line
from .start import start
from .system import System

__all__ = ["run"]

ResultT = TypeVar("ResultT")


def run(
    main: Callable[[System], Coroutine[Any, Any, ResultT]],
    settings: Settings | None = None,
    /,
    **options: Unpack[SettingsOptions],
) -> ResultT:
    """Start a system, run `main(system)` and return its result; stop the system in any case.

    `options` are the fields of `Settings`, such as `hosts=4`, `engine="inline"` or
    `address="10.0.0.1:6379"`. For an option that is left out or None, the environment counts
    (`CALLBOARD_HOSTS` and others; `callboard run` sets them). Ctrl-C stops everything within
    5 seconds and raises `KeyboardInterrupt`. A script that does not catch it ends with one line
    instead of a traceback, and with the exit code 130 of a shell.

    Raises the errors of `main`, those of `start`, and `UsageError` in a thread whose event loop
    runs, as in a notebook: use `async with start(...)` there.
    """
    if _has_running_loop():
        raise UsageError(
            "an event loop runs in this thread already (a notebook has one), and callboard.run "
            "cannot run another.",
            advice="Write `async with callboard.start() as system:` instead.",
        )

    async def whole() -> ResultT:
        async with start(settings, **options) as system:
            tune_gc()
            return await main(system)

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(whole())
    except KeyboardInterrupt as interrupt:
        end_in_one_line(interrupt)
        raise


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
