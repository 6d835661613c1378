"""Errors of handlers and start hooks, as plain data with the traceback as text.

Nothing here pickles the exception that a handler raised. An exception that cannot be
rendered as text is named by its type alone.

One rule says what an exception means, wherever the code of a user raised it. An exception group
means what `deciding_error` picks from it. A `CallboardError` was raised on purpose, and goes to the
asker as it is. Everything else is a failure, also `SystemExit`, and a `CancelledError` that nobody
asked for.
"""

import asyncio
import traceback
from collections.abc import Callable
from typing import Any, Final, TypeVar

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
    UsageError,
    WrongReply,
    error_from_data,
)
from callboard.messages.core.module_names import near_match

from .actor import Handler
from .cell_port import CellPort
from .interrupts import is_interrupt
from .stash import Stashed

__all__ = [
    "cancelled_error",
    "deciding_error",
    "describe_exception",
    "ends_task",
    "failure_of",
    "forwarded_error",
    "handler_failed_error",
    "linked_exit_error",
    "missing_handler_error",
    "start_failed_error",
    "stream_expected_error",
    "text_of",
    "threads_full_error",
    "unfinished_reply_error",
    "wrong_reply_error",
]

ValueT = TypeVar("ValueT")
TRACEBACK_CHARS_MAX: Final = 16_000


def deciding_error(error: BaseException) -> BaseException:
    """The error that decides what an exception means: itself, or one of a group's leaves.

    It is the first leaf that is a failure; without one, the first `CallboardError`. So a group
    with one leaf means what the leaf means, and a refused ask in a `TaskGroup` means what it means
    in a `gather`.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = _leaves(error)
    return min(leaves, key=_rank) if leaves else error  # `min` takes the first of equals.


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    """The exceptions in a group and in the groups within it, in their order; without recursion."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(reversed(error.exceptions))
        else:
            leaves.append(error)
    return leaves


def _rank(error: BaseException) -> int:
    if is_interrupt(error):
        return 0
    # The last two end a task because of something else, which another leaf may name.
    last: tuple[type[BaseException], ...] = (CallboardError, asyncio.CancelledError, Stashed)
    return next((rank for rank, kind in enumerate(last, 2) if isinstance(error, kind)), 1)


def describe_exception(error: BaseException) -> dict[str, str]:
    """Type, text and traceback of an exception, whatever its own methods do.

    For a group, type and text are those of its `deciding_error`.
    """
    leaf = deciding_error(error)
    cls = type(leaf)
    text, broken = _attempt(lambda: str.__str__(str(leaf)))
    if text is None:
        text = f"(its text cannot be rendered: {type(broken).__name__})"
    trace, _ = _attempt(lambda: "".join(traceback.format_exception(error)))
    if trace is None:
        trace = "".join(traceback.format_tb(error.__traceback__))
    name, _ = _attempt(lambda: f"{cls.__module__}.{cls.__qualname__}")
    return {
        "remote_type": _printable(name or type.__repr__(cls)),
        "remote_text": _printable(text[:TRACEBACK_CHARS_MAX]),
        "remote_traceback": _printable(_shortened(trace)),
    }


def text_of(error: BaseException) -> str:
    """The `repr` of an exception, or its type if there is none."""
    text, _ = _attempt(lambda: str.__str__(repr(error)))
    return type.__repr__(type(error)) if text is None else _printable(text)


def _attempt(call: Callable[[], ValueT]) -> tuple[ValueT | None, BaseException | None]:
    """Call the code of a user; its result, or what it raises instead."""
    try:
        return call(), None
    except BaseException as broken:
        if is_interrupt(broken):
            raise
        return None, broken


def _shortened(trace: str) -> str:
    """Both ends of it: one has the place, and the other the exception."""
    if len(trace) <= TRACEBACK_CHARS_MAX:
        return trace
    half = TRACEBACK_CHARS_MAX // 2
    return f"{trace[:half]}\n[...]\n{trace[-half:]}"


def _printable(text: str) -> str:
    # A file name that is not UTF-8 comes with lone surrogates, which nothing can encode.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def failure_of(cell: CellPort, message: Contract, error: BaseException) -> CallboardError:
    """The error for the asker of a handler that has raised `error`, a `deciding_error`.

    It is `error` itself if that is a `CallboardError` that can be read.
    """
    if isinstance(error, CallboardError):
        _, broken = _attempt(lambda: (str(error), error.to_data()))
        if broken is None:
            return error
    return handler_failed_error(cell, message, error)


def cancelled_error(cell: CellPort, message: Contract) -> CallboardError:
    """The error for an asker whose handler was cancelled with its actor."""
    return Cancelled(
        f"{_place(cell, message)} was cancelled.", advice="Ask again if you still need it."
    )


def handler_failed_error(cell: CellPort, message: Contract, error: BaseException) -> HandlerFailed:
    """The error for an asker whose handler has failed."""
    described = describe_exception(error)
    return HandlerFailed(
        f"{_place(cell, message)} raised {described['remote_type']}: {described['remote_text']}",
        advice="Its traceback is in remote_traceback.",
        **described,
    )


def _place(cell: CellPort, message: Contract) -> str:
    return f"{cell.path} while it handled a {type(message).contract_name}"


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
    # Another pydantic model than a contract may have come by a local reference.
    name = getattr(type(message), "contract_name", type(message).__qualname__)
    return ActorNotFound(
        f"{cell.path} ({cell.behaviour.actor.__qualname__}) has no handler for a "
        f"{name}{near_match(name, handled, 'handled')}.",
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


def stream_expected_error(cell: CellPort, message: Contract) -> CallboardError:
    """The error for an ask of a handler that only yields: its asker would get nothing of it."""
    name = type(message).contract_name
    return UsageError(
        f"{cell.path} answers a {name} with a stream of items and without a reply: an ask gets "
        "none of them.",
        advice=f"Read them: `async for item in ref.stream({type(message).__name__}(...), Item)`.",
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


def ends_task(error: BaseException) -> bool:
    """Whether the task's owner or the process ends it: other errors are those of a user's code.

    A loop that calls users' code handles all others, so that none ends it silently.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, GeneratorExit) or is_interrupt(error)
