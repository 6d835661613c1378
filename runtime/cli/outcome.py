"""The outcome of a command: its exit code, and the message of a failure.

Invariant: each kind of failure has one exit code, so that a script can decide what to do next. A
failure has one sentence and an advice. Only `--verbose` prints a traceback.
"""

import enum
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from callboard.messages.core.errors import (
    CallboardError,
    ClusterError,
    DeadlineExceeded,
    HandlerFailed,
    InternalError,
    SpecError,
    UsageError,
)

from ..api.interrupts import INTERRUPTED
from .figures import printable

__all__ = ["ExitCode", "Failure", "failure_of", "print_failure"]

VERBOSE_ADVICE: Final = "--verbose shows the traceback."


class ExitCode(enum.IntEnum):
    """The exit codes of `callboard`."""

    OK = 0
    FAILED = 1
    """The work failed."""
    USAGE = 2
    """The command, a setting or a specification is wrong. Nothing ran."""
    UNREACHABLE = 3
    """The cluster does not answer, or does not match the request."""
    TIMEOUT = 4
    INTERRUPTED = 130
    """Ctrl-C: 128 plus the number of SIGINT, as in shells."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, as shown to the user."""

    exit_code: int
    code: str
    message: str
    advice: str = ""
    details: str = ""
    """Tracebacks, for `--verbose`."""

    def to_data(self) -> dict[str, Any]:
        """The failure for machines."""
        return {"code": self.code, "message": self.message, "advice": self.advice}


def failure_of(error: BaseException) -> Failure:
    """The message and the exit code for an error."""
    details = "".join(traceback.format_exception(error)).rstrip()
    match error:
        case HandlerFailed():
            details = error.remote_traceback or details
            return Failure(ExitCode.FAILED, error.code, error.message, VERBOSE_ADVICE, details)
        case CallboardError():
            code = _exit_code(error)
            return Failure(code, error.code, error.message, error.advice, details)
        case KeyboardInterrupt() | click.Abort():
            return Failure(ExitCode.INTERRUPTED, "interrupted", INTERRUPTED)
        case TimeoutError():
            message = str(error) or f"a timeout passed{_place(error.__traceback__)}."
            return Failure(ExitCode.TIMEOUT, "timeout", message, VERBOSE_ADVICE, details)
        case _:
            text = str(error).strip()
            name = type(error).__name__ + (f": {text}" if text else "")
            message = f"{name}{_place(error.__traceback__)}"
            return Failure(ExitCode.FAILED, "exception", message, VERBOSE_ADVICE, details)


def _exit_code(error: CallboardError) -> ExitCode:
    match error:
        case ClusterError():
            return ExitCode.UNREACHABLE
        case DeadlineExceeded():
            return ExitCode.TIMEOUT
        case UsageError() | SpecError():
            return ExitCode.USAGE
        case InternalError():
            return ExitCode.FAILED
        case _:
            return ExitCode.FAILED


def _place(trace: TracebackType | None) -> str:
    """Where the error was raised: the innermost line in a file."""
    frames = [frame for frame in traceback.extract_tb(trace) if not frame.filename.startswith("<")]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def print_failure(failure: Failure, *, verbose: bool) -> None:
    """Print what happened, and what to do about it, to stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if verbose and failure.details:
        console.print(Text(printable(failure.details), style="dim"))
    if failure.exit_code == ExitCode.INTERRUPTED:
        console.print(failure.message)
        return
    console.print(Text.assemble(("Error: ", "bold red"), printable(failure.message)))
    if failure.advice:
        console.print(Text(printable(failure.advice)))
