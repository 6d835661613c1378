"""Ctrl-C, as against a `KeyboardInterrupt` that the code of an actor raises itself.

The first must end the driver, whatever code it interrupts. The second is a failure like another.
Python delivers signals to the main thread only, so it is the second in every other thread. In the
main thread it is the first, unless Ctrl-C is being watched and there was none.
"""

import signal
import threading
import types
from collections.abc import Callable
from typing import Any, Final

__all__ = ["is_interrupt", "watch_interrupts"]


class _Watch:
    """Notes Ctrl-C, and leaves the rest to the signal's handler of before."""

    def __init__(self) -> None:
        self._users = 0
        self._previous: Any = None
        self._seen = False

    def begin(self) -> Callable[[], None]:
        handler = signal.getsignal(signal.SIGINT)
        if not _is_main_thread() or not (self._users or callable(handler)):
            return _nothing
        if not self._users:
            self._previous, self._seen = handler, False
            signal.signal(signal.SIGINT, self._note)
        self._users += 1
        return self._end

    def _end(self) -> None:
        self._users -= 1
        if not self._users and self._is_in_place():
            signal.signal(signal.SIGINT, self._previous)

    def _is_in_place(self) -> bool:
        return signal.getsignal(signal.SIGINT) == self._note

    def has_seen_none(self) -> bool:
        return self._users > 0 and not self._seen and self._is_in_place()

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        self._seen = True
        self._previous(number, frame)


_WATCH: Final = _Watch()


def is_interrupt(error: BaseException) -> bool:
    """Whether the error is Ctrl-C: whoever catches it must raise it again."""
    return isinstance(error, KeyboardInterrupt) and _is_main_thread() and not _WATCH.has_seen_none()


def watch_interrupts() -> Callable[[], None]:
    """Watch Ctrl-C, if this is the main thread; returns a function that ends it, for one call."""
    return _WATCH.begin()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _nothing() -> None:
    """There is nothing to end."""
