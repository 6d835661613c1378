"""Commands that change an execution: through its owner process, or as the journal's writer.

A process owns an execution when it runs the execution or writes its journal. Without an owner, the
command line writes the same events into the journal itself.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from uuid import uuid4

from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError, DeadlineExceeded, UsageError
from callboard.messages.jobs.commands import (
    ExecutionCancelled,
    ExecutionForked,
    ExecutionResumed,
    PartialsView,
    StepDecided,
)
from callboard.messages.storage.events import Append, EventStore

from ..admin.principals import local_principal
from ..stores.file_lock import FileLock
from .logs import Found, catch_up
from .sources import local_executors

__all__ = ["ask_owner", "change", "check_free", "command_fields", "wait_until", "writer_name"]

ReplyT = TypeVar(
    "ReplyT", StepDecided, ExecutionCancelled, ExecutionForked, ExecutionResumed, PartialsView
)
POLL_S: Final = 0.05
WRITER_NAME: Final = "callboard-command"


def writer_name() -> str:
    """The name under which a command writes events."""
    return f"{WRITER_NAME}/{os.getpid()}"


def command_fields(found: Found, history: ExecutionHistory) -> dict[str, Any]:
    """The common fields of commands on an execution; see `ExecutionCommand`."""
    return {
        "execution_id": found.id,
        "token": uuid4().hex,
        "at": time.time(),
        "version": history.version,
        "event": history.last_id.hex(),
        "by": local_principal("cli").subject,  # As a process names this caller of its socket.
    }


def ask_owner(found: Found, command: Request[ReplyT]) -> ReplyT | None:
    """The reply of the owner process; None without an owner on this machine."""
    return asyncio.run(_ask_owner(found, command))


async def _ask_owner(found: Found, command: Request[ReplyT]) -> ReplyT | None:
    writer = found.log.writer()
    for source in local_executors():
        if source.pid and writer not in (None, str(source.pid)):
            continue
        try:
            reply: ReplyT = await source.ask(command)
        except (OSError, TimeoutError, ValueError):
            continue  # It ended, hangs, or is another release. The journal's lock decides.
        if reply.is_known:
            return reply
    return None


def change(
    found: Found, command: Request[ReplyT], append: Append, *, take_over: bool
) -> ReplyT | None:
    """Send a command to the owner of the execution, or else append its events, durably.

    Gives the owner's reply, or None without an owner. Raises what the owner or the store raises,
    and `UsageError` where another process writes the journal, or may write it.
    """
    reply = ask_owner(found, command)
    if reply is None:
        check_free(found, take_over=take_over)
        with _taken_over(found) as store:
            (outcome,) = store.commit([append])
        if isinstance(outcome, CallboardError):
            raise outcome
    return reply


def check_free(found: Found, *, take_over: bool) -> None:
    """Raise `UsageError` when a process writes the journal, or may write it."""
    writer = found.log.writer()
    if writer:
        raise UsageError(
            f"the journal {found.log.url} has a writer, process {writer}, which does not "
            f"answer: execution {found.id} may be running there.",
            advice="Follow it with `callboard tail`, or stop that system first.",
        )
    if writer is None and not take_over:
        raise UsageError(
            f"{found.log.store.name} may have a writer on another machine.",
            advice="If its system is gone for sure, use --take-over. It fences the old writer.",
        )


@contextlib.contextmanager
def _taken_over(found: Found) -> Iterator[EventStore]:
    """The store, with this command as its writer."""
    from ..stores.choose import event_store

    path = found.log.path
    lock = None if path is None else FileLock(path)
    if lock is not None and not lock.take():
        raise UsageError(
            f"the journal {found.log.url} has a new writer, process {lock.owner()}.",
            advice="Try again: the command then goes to that system.",
        )
    store = event_store(found.log.url)
    try:
        store.open()
        store.take_over(writer_name())
        yield store
    finally:
        store.close()
        if lock is not None:
            lock.release()


def wait_until(
    found: Found,
    history: ExecutionHistory,
    is_so: Callable[[ExecutionHistory], bool],
    what: str,
    timeout_s: float,
) -> None:
    """Read new events into `history` until `is_so` holds. Raises `DeadlineExceeded`."""
    ends_s = time.monotonic() + timeout_s
    while not is_so(history):
        if time.monotonic() >= ends_s:
            raise DeadlineExceeded(
                f"execution {found.id} did not {what} within {timeout_s:g} s.",
                advice="Follow it with `callboard tail`.",
            )
        time.sleep(POLL_S)
        catch_up(found, history)
