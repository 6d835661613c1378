"""Who runs an execution, and who writes its journal: asked, or made sure to be gone."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from callboard.actors.execution.history.events import stream_of
from callboard.actors.execution.history.fold import ExecutionHistory
from callboard.messages.contract import Request
from callboard.messages.errors import DeadlineExceeded, UsageError
from callboard.messages.wishes import (
    EventsWritten,
    ExecutionCancelled,
    ExecutionResumed,
    StepDecided,
)

from .logs import Found, catch_up
from .sources import announced_drivers

__all__ = ["ask_owner", "check_free", "last_event", "wait_until"]

ReplyT = TypeVar("ReplyT", EventsWritten, ExecutionCancelled, ExecutionResumed, StepDecided)
POLL_S: Final = 0.05


def ask_owner(found: Found, wish: Request[ReplyT]) -> ReplyT | None:
    """What the driver answers that a wish is for; None when none of this machine is it."""
    return asyncio.run(_ask_owner(found, wish))


async def _ask_owner(found: Found, wish: Request[ReplyT]) -> ReplyT | None:
    writer = found.log.writer()
    sources = [source for source in announced_drivers() if writer in (None, str(source.pid))]
    for source in sources:
        try:
            reply: ReplyT = await source.ask(wish)
        except (OSError, TimeoutError):
            continue  # It has ended, or hangs: the lock of the journal tells which.
        if reply.is_known:
            return reply
    return None


def last_event(found: Found, history: ExecutionHistory) -> str:
    """The id of the last event that a history has: it tells its journal from all others."""
    stream = stream_of(found.id)
    (event,) = found.log.store.read_stream(stream, after=history.version - 1, limit=1)
    return event.id.hex()


def check_free(found: Found, *, take_over: bool) -> None:
    """Refuse when somebody writes the journal. Raises `UsageError`."""
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


def wait_until(
    found: Found,
    history: ExecutionHistory,
    is_so: Callable[[ExecutionHistory], bool],
    what: str,
    timeout_s: float,
) -> None:
    """Wait for what a running system was told; `history` goes on. Raises `DeadlineExceeded`."""
    ends_s = time.monotonic() + timeout_s
    while not is_so(history):
        if time.monotonic() >= ends_s:
            raise DeadlineExceeded(
                f"execution {found.id} was told to {what}, and has not within {timeout_s:g} s.",
                advice="Follow it with `callboard tail`.",
            )
        time.sleep(POLL_S)
        catch_up(found, history)
