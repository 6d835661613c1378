"""Errors of handlers and start hooks, as plain data with the traceback as text.

Nothing here pickles the exception that a handler raised. An exception that cannot be
rendered as text is named by its type alone.
"""

import asyncio
import traceback
from typing import Any, Final

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStartFailed,
    AskError,
    CallboardError,
    Cancelled,
    HandlerFailed,
    MailboxFull,
    WrongReply,
    error_from_data,
)

from .actor import Handler
from .cell_port import CellPort

__all__ = [
    "describe_exception",
    "ends_task",
    "forwarded_error",
    "handler_failed_error",
    "is_being_cancelled",
    "linked_exit_error",
    "missing_handler_error",
    "start_failed_error",
    "threads_full_error",
    "unfinished_reply_error",
    "wrong_reply_error",
]

TRACEBACK_CHARS_MAX: Final = 16_000


def describe_exception(error: BaseException) -> dict[str, str]:
    """Type, text and traceback of an exception, whatever its own methods do."""
    cls = type(error)
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may do anything
        text = f"(its text cannot be rendered: {type(broken).__name__})"
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - as above
        trace = "".join(traceback.format_tb(error.__traceback__))
    return {
        "remote_type": f"{cls.__module__}.{cls.__qualname__}",
        "remote_text": _printable(text[:TRACEBACK_CHARS_MAX]),
        "remote_traceback": _printable(_shortened(trace)),
    }


def _shortened(trace: str) -> str:
    """Both ends of it: one has the place, and the other the exception."""
    if len(trace) <= TRACEBACK_CHARS_MAX:
        return trace
    half = TRACEBACK_CHARS_MAX // 2
    return f"{trace[:half]}\n[...]\n{trace[-half:]}"


def _printable(text: str) -> str:
    # A file name that is not UTF-8 comes with lone surrogates, which nothing can encode.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def handler_failed_error(
    cell: CellPort, message: Contract, error: BaseException, *, cancelled: bool
) -> CallboardError:
    """The error for an asker whose handler raised, or was cancelled with its actor."""
    where = f"{cell.path} while it handled a {type(message).contract_name}"
    if cancelled:
        return Cancelled(f"{where} was cancelled.", advice="Ask again if you still need it.")
    described = describe_exception(error)
    return HandlerFailed(
        f"{where} raised {described['remote_type']}: {described['remote_text']}",
        advice="Its traceback is in remote_traceback.",
        **described,
    )


def forwarded_error(error: CallboardError) -> CallboardError:
    """The error that a handler raised, for its own asker.

    A handler may forward the error of an ask of its own, which says that *that* ask's handler
    never ran. This handler has run: without the change its asker would repeat its work.
    """
    if not isinstance(error, AskError) or error.may_have_run:
        return error
    data = error.to_data()
    return error_from_data({**data, "details": {**data["details"], "may_have_run": True}})


def missing_handler_error(cell: CellPort, message: Contract) -> CallboardError:
    """The error for an asker whose request the actor has no handler for."""
    handled = sorted({row.contract.contract_name for row in cell.behaviour.handlers.values()})
    return ActorNotFound(
        f"{cell.path} ({cell.behaviour.actor.__qualname__}) has no handler for a "
        f"{type(message).contract_name}.",
        advice=f"It handles: {', '.join(handled) or 'nothing'}.",
        may_have_run=False,
    )


def wrong_reply_error(cell: CellPort, row: Handler, result: Any) -> CallboardError:
    """The error for an asker whose handler returned a reply of another type."""
    wanted = row.reply.contract_name if row.reply is not None else "None"
    return WrongReply(
        f"{cell.path}: handler {row.name} returned a {type(result).__qualname__}, "
        f"but {row.contract.contract_name} is answered by {wanted}.",
        advice="Return the contract that the request names as its reply.",
    )


def unfinished_reply_error(cell: CellPort, row: Handler, result: Any) -> CallboardError:
    """The error for a `def` handler that returned a coroutine or a generator; closes that."""
    close = getattr(result, "close", None)
    if close is not None:
        close()
    return WrongReply(
        f"{cell.path}: handler {row.name} is a `def` that returned a {type(result).__name__}.",
        advice="Make it an `async def` that awaits, and returns its reply.",
    )


def threads_full_error(cell: CellPort, hung: str) -> CallboardError:
    """The error for an ask to a synchronous handler while too many threads of the host hang."""
    return MailboxFull(
        f"{cell.path} got no thread: too many handlers of its host hang in theirs: {hung}.",
        advice="Give their blocking calls a timeout, or let them check ctx.cancelled; ask again "
        "once some have ended.",
        may_have_run=False,
    )


def start_failed_error(cell: CellPort, error: BaseException) -> ActorStartFailed:
    """The error for the spawner of an actor whose constructor or start hook raised."""
    described = describe_exception(error)
    return ActorStartFailed(
        f"{cell.path} ({cell.behaviour.actor.__qualname__}) did not start: "
        f"{described['remote_type']}: {described['remote_text']}",
        advice="Its traceback is in remote_traceback.",
        may_have_run=False,
        path=cell.path,
        **described,
    )


def linked_exit_error(cell: CellPort, reason: Exit) -> ActorStartFailed:
    """The error for the spawner of an actor whose linked actor ended during its start hook."""
    return ActorStartFailed(
        f"{cell.path} did not start: an actor that its start hook linked it to ended "
        f"({reason.kind.value}).",
        advice="The reason of that end is in reason.",
        may_have_run=False,
        reason=reason.to_data(),
    )


def is_being_cancelled(error: BaseException) -> bool:
    """Whether the task is really being cancelled; a hook may also raise `CancelledError` itself."""
    task = asyncio.current_task()
    is_cancelled = isinstance(error, asyncio.CancelledError)
    return is_cancelled and task is not None and task.cancelling() > 0


def ends_task(error: BaseException) -> bool:
    """Whether the task's owner or the process ends it: other errors are those of a user's code.

    A loop that calls users' code handles all others, so that none ends it silently.
    """
    return is_being_cancelled(error) or isinstance(error, KeyboardInterrupt | GeneratorExit)
