"""Ctrl-C, as against a `KeyboardInterrupt` that the code of an actor raises itself.

The first must end the driver, whatever code it interrupts. The second is a failure like another.
Python runs the handler of a signal in the main thread, between two instructions of any code, and
the traceback shows it. So nothing has to watch signals.
"""

import dis
import functools
import signal
import threading
import types
from typing import Any, Final

__all__ = ["is_interrupt"]

_RAISE: Final = dis.opmap["RAISE_VARARGS"]
"""The instruction of a `raise` statement, where no signal is handled."""


def is_interrupt(error: BaseException) -> bool:
    """Whether the error is Ctrl-C: whoever catches it must raise it again."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    handler_code = _code_of(signal.getsignal(signal.SIGINT))
    code, last = None, -1
    trace = error.__traceback__
    while trace is not None:
        code, last = trace.tb_frame.f_code, trace.tb_lasti
        if code is handler_code:
            return True
        trace = trace.tb_next
    return handler_code is None and (code is None or code.co_code[last] != _RAISE)


def _code_of(handler: Any) -> types.CodeType | None:
    """The code of a handler in Python, as asyncio's; Python's own is none."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return getattr(handler, "__code__", None)
