"""The blocking entry of driver scripts: run one async function with a system, and clean up."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, Unpack

from ..hosting.memory import tune_gc
from ..hosting.settings import Settings, SettingsOptions
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
    """Start a system, run `main(system)` and give its result; stop the system in any case.

    `options` are the fields of `Settings`, such as `hosts=4`, `engine="inline"` or
    `address="10.0.0.1:6379"`. What they leave out or None, the environment may say
    (`CALLBOARD_HOSTS` and so on), and so may `callboard run`. Ctrl-C stops everything within
    5 seconds and raises `KeyboardInterrupt`.
    """

    async def whole() -> ResultT:
        async with start(settings, **options) as system:
            tune_gc()
            return await main(system)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(whole())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
