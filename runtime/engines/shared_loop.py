"""Keeps an event loop that actors share with a driver running, whatever their code raises.

asyncio ends a loop when a task or callback raises `SystemExit` or `KeyboardInterrupt`. The main
function of a driver ends its program so. A tool that an actor calls in a task must not: there the
task has failed, and who waits for it gets the error. So callbacks that come from the code of an
actor are wrapped; they have a context of `fresh_context`. Callbacks of the driver are not.

Not wrapped are the callbacks of transports, readers and signals, which a loop calls by itself.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any, Final

from callboard.actors.kernel.interrupts import is_interrupt
from callboard.actors.kernel.isolation import is_of_actor

__all__ = ["guard"]

LOGGER: Final = logging.getLogger("callboard.host")
SOON: Final = ("call_soon", "call_soon_threadsafe")
LATER: Final = ("call_later", "call_at")
_GUARDED: Final[dict[asyncio.AbstractEventLoop, "_Guard"]] = {}


def guard(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Guard a loop; returns a function that ends this, for one call. Ctrl-C still ends the loop."""
    found = _GUARDED.get(loop)
    if found is None:
        found = _GUARDED[loop] = _Guard(loop)
    found.users += 1
    return found.leave


class _Guard:
    """The wrappers of one loop, for all systems that run on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users = 0
        self._loop = loop
        self._wrappers: dict[str, Any] = {
            **{name: _wrapped(getattr(loop, name)) for name in SOON},
            **{name: _wrapped_timer(getattr(loop, name)) for name in LATER},
        }
        vars(loop).update(self._wrappers)

    def leave(self) -> None:
        self.users -= 1
        if not self.users:
            del _GUARDED[self._loop]
            state = vars(self._loop)
            for name, wrapper in self._wrappers.items():
                if state.get(name) is wrapper:
                    del state[name]


def _wrapped(call: Callable[..., asyncio.Handle]) -> Callable[..., asyncio.Handle]:
    def call_soon(
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        if context is None:
            context = contextvars.copy_context()
        # A loop may implement one of these by another one, which has wrapped it.
        if callback is not _run and is_of_actor(context):
            return call(_run, callback, *args, context=context)
        return call(callback, *args, context=context)

    return call_soon


def _wrapped_timer(call: Callable[..., asyncio.TimerHandle]) -> Callable[..., asyncio.TimerHandle]:
    def call_at(
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        if context is None:
            context = contextvars.copy_context()
        # A loop may implement one of these by another one, which has wrapped it.
        if callback is not _run and is_of_actor(context):
            return call(when, _run, callback, *args, context=context)
        return call(when, callback, *args, context=context)

    return call_at


def _run(callback: Callable[..., object], *args: Any) -> None:
    try:
        callback(*args)
    except (SystemExit, KeyboardInterrupt) as error:
        if is_interrupt(error):
            raise
        LOGGER.warning("the code of an actor raised %s in a task or callback", type(error).__name__)
