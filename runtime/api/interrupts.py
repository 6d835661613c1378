"""The end of a program by Ctrl-C: one line for people instead of a traceback.

Nothing is imported here that takes time: Ctrl-C may come at any moment.
"""

import sys
from types import TracebackType
from typing import Final

__all__ = ["INTERRUPTED", "end_in_one_line"]

INTERRUPTED: Final = "Interrupted; everything has been stopped."


def end_in_one_line(interrupt: KeyboardInterrupt) -> None:
    """Let the interpreter print one line for this interrupt, if nobody catches it.

    The interpreter then ends by SIGINT, as the shell expects: its exit code is 130.
    """
    before = sys.excepthook

    def print_line(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if error is interrupt:
            sys.stderr.write(f"{INTERRUPTED}\n")
        else:
            before(kind, error, trace)

    sys.excepthook = print_line
