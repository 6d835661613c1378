"""Runs the checks of a job, and turns exceptions of its parts into errors for the caller."""

from collections.abc import Callable, Sequence
from typing import Any, Final, assert_never

from callboard.messages.core.errors import (
    CallboardError,
    ExecutionFailed,
    OutputError,
    RequestRejected,
    ResultRejected,
)
from callboard.messages.jobs.updates import ExecutionPhase

from ..kernel.failures import describe_exception
from ..scheduler.effects import ExecutionDone

__all__ = ["check_all", "part_failed", "sub_task_failed"]

TRACEBACK_CHARS_MAX: Final = 8_000


def check_all(
    checks: Sequence[Callable[[Any], None]],
    value: Any,
    rejected: type[RequestRejected] | type[ResultRejected],
) -> None:
    """Run all checks; raises `rejected` with all problems."""
    problems: list[str] = []
    first: Exception | None = None
    for check in checks:
        try:
            check(value)
        except (rejected, ValueError) as error:
            first = first or error
            problems.append(error.message if isinstance(error, CallboardError) else str(error))
    if not problems:
        return
    if len(problems) == 1 and isinstance(first, rejected):
        raise first
    what = "request" if rejected is RequestRejected else "result"
    listed = " ".join(text if text.endswith(".") else f"{text}." for text in problems)
    raise rejected(f"The {what} has problems: {listed}", problems=problems) from first


def part_failed(job: str, phase: ExecutionPhase, error: BaseException) -> CallboardError:
    """The caller's error for an exception of the part of a phase."""
    if isinstance(error, CallboardError):
        return error
    described = describe_exception(error)
    text = f"{type(error).__qualname__}: {described['remote_text']}"
    message = f"Job {job!r} failed while {phase}: {text}."
    lines = described["remote_traceback"][-TRACEBACK_CHARS_MAX:]
    details = {"phase": str(phase), "remote_traceback": lines}
    failed: CallboardError
    match phase:
        case ExecutionPhase.VALIDATING:
            failed = RequestRejected(message, **details)
        case ExecutionPhase.CHECKING:
            failed = ResultRejected(message, **details)
        case ExecutionPhase.DELIVERING:
            failed = OutputError(message, advice="Check the destination of the result.", **details)
        case (
            ExecutionPhase.ENRICHING
            | ExecutionPhase.ROUTING
            | ExecutionPhase.DECOMPOSING
            | ExecutionPhase.RUNNING
            | ExecutionPhase.MERGING
            | ExecutionPhase.RESOLVING
            | ExecutionPhase.TRANSFORMING
            | ExecutionPhase.FORMATTING
            | ExecutionPhase.ENDED
        ):
            failed = ExecutionFailed(message, **details)
        case unknown:
            assert_never(unknown)
    failed.__cause__ = error
    return failed


def sub_task_failed(job: str, how: ExecutionDone) -> CallboardError:
    """The caller's error when a required sub-task failed for good."""
    error = how.error
    assert error is not None, "an execution fails for a reason"
    failed = ExecutionFailed(
        f"Job {job!r} failed in sub-task {how.failed_task!r}: {error.message}",
        advice=error.advice,
        failed_task=how.failed_task,
        cause=error.to_data(),
    )
    failed.__cause__ = error
    return failed
