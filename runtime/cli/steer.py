"""A command that changes an execution: through the process that has it, or as the journal's writer.

A process has an execution when it runs it, or writes its journal. Where there is none the command
line writes the same events into the journal itself.
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
    StepDecided,
)
from callboard.messages.storage.events import Append, EventStore

from ..executions.journals import FileLock
from .logs import Found, catch_up
from .sources import local_executors

__all__ = ["ask_owner", "change", "check_free", "command_fields", "wait_until", "writer_name"]

ReplyT = TypeVar("ReplyT", StepDecided, ExecutionCancelled, ExecutionForked, ExecutionResumed)
POLL_S: Final = 0.05
WRITER_NAME: Final = "callboard-command"


def writer_name() -> str:
    """The name of a command that writes events of its own."""
    return f"{WRITER_NAME}/{os.getpid()}"


def command_fields(found: Found, history: ExecutionHistory) -> dict[str, Any]:
    """The fields that all commands on an execution have; see `ExecutionCommand`."""
    return {
        "execution_id": found.id,
        "token": uuid4().hex,
        "at": time.time(),
        "version": history.version,
        "event": history.last_id.hex(),
    }


def ask_owner(found: Found, command: Request[ReplyT]) -> ReplyT | None:
    """The reply of the process that has the execution; None when none of this machine does."""
    return asyncio.run(_ask_owner(found, command))


async def _ask_owner(found: Found, command: Request[ReplyT]) -> ReplyT | None:
    writer = found.log.writer()
    for source in local_executors():
        if writer not in (None, str(source.pid)):
            continue
        try:
            reply: ReplyT = await source.ask(command)
        except (OSError, TimeoutError, ValueError):
            continue  # It has ended, hangs, or is of another release: the journal's lock tells.
        if reply.is_known:
            return reply
    return None


def change(
    found: Found, command: Request[ReplyT], append: Append, *, take_over: bool
) -> ReplyT | None:
    """Carry out a command where the execution is; otherwise append its events, durably.

    Gives the reply of the process that has the execution, None when there was none. Raises what
    that process or the store raises, and `UsageError` where another process writes the journal,
    or may.
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
    """Refuse when a process writes the journal. Raises `UsageError`."""
    writer = found.log.writer()
    if writer:
        raise UsageError(
            f"the journal {found.log.url} is being written by process {writer}, which does not "
            f"answer: execution {found.id} may be running there.",
            advice="Follow it with `callboard tail`, or stop that system first.",
        )
    if writer is None and not take_over:
        raise UsageError(
            f"whether somebody writes {found.log.store.name} cannot be known here.",
            advice="When its system is gone for sure, say --take-over: the old writer is fenced.",
        )


@contextlib.contextmanager
def _taken_over(found: Found) -> Iterator[EventStore]:
    """The store, whose writer the command is meanwhile."""
    from ..stores.choose import event_store

    path = found.log.path
    lock = None if path is None else FileLock(path)
    if lock is not None and not lock.take():
        raise UsageError(
            f"the journal {found.log.url} is written by process {lock.owner()}, which has "
            "started meanwhile.",
            advice="Try again: a running system is asked instead.",
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
    """Wait for what a running system was asked to do; `history` goes on.

    Raises `DeadlineExceeded`.
    """
    ends_s = time.monotonic() + timeout_s
    while not is_so(history):
        if time.monotonic() >= ends_s:
            raise DeadlineExceeded(
                f"execution {found.id} was told to {what}, and has not within {timeout_s:g} s.",
                advice="Follow it with `callboard tail`.",
            )
        time.sleep(POLL_S)
        catch_up(found, history)
