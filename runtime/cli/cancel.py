"""`callboard cancel ID`: ends an execution, whether its system runs or not."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Final, TypeVar

import click

from callboard.actors.execution.history.events import Kind
from callboard.actors.execution.history.fold import ExecutionHistory
from callboard.messages.contract import Request
from callboard.messages.errors import Cancelled, DeadlineExceeded, UsageError
from callboard.messages.execution import ExecutionStatus, StateTransitionTrigger
from callboard.messages.views import CancelExecution, ExecutionCancelled, StepDecided

from .logs import Found, find, history_of, journal_option, open_logs
from .resume import check_free
from .sources import announced_sources
from .writing import writer_of

__all__ = ["TIMEOUT_DEFAULT_S", "ask_owner", "cancel", "wait_until"]

ReplyT = TypeVar("ReplyT", ExecutionCancelled, StepDecided)
POLL_S: Final = 0.05
TIMEOUT_DEFAULT_S: Final = 10.0


@click.command()
@click.argument("execution_id", metavar="ID")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=TIMEOUT_DEFAULT_S,
    show_default=True,
    metavar="S",
    help="How long its system may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option(
    "--take-over", is_flag=True, help="Even where nobody can tell whether its system runs."
)
@journal_option
def cancel(
    *, execution_id: str, timeout_s: float, as_json: bool, take_over: bool, url: str | None
) -> None:
    """Cancel the execution ID. A running system is asked; otherwise the journal says it.

    Exits with 4 when a running system has not ended it in time.
    """
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        if history.is_over:
            raise UsageError(f"execution {found.id} is over: {history.status}.")
        if asyncio.run(ask_owner(found, CancelExecution(execution_id=found.id))) is not None:
            wait_until(found, lambda now: now.is_over, "end", timeout_s)
            how = "its system has cancelled it"
        else:
            check_free(found, take_over=take_over)
            _write(found)
            how = "its system did not run: the journal says that it is cancelled"
        status = history_of(found).status
    if as_json:
        click.echo(json.dumps({"id": found.id, "status": str(status)}))
    else:
        click.echo(f"execution {found.id}: {status}; {how}.")


async def ask_owner(found: Found, request: Request[ReplyT]) -> ReplyT | None:
    """What the system answers that runs an execution; None when none of this machine does."""
    writer = found.log.writer()
    sources = [source for source in announced_sources() if writer in (None, str(source.pid))]
    for source in sources:
        try:
            reply: ReplyT = await source.ask(request)
        except (OSError, TimeoutError):
            continue  # It has ended, or hangs: the lock of the journal tells which.
        if reply.is_known:
            return reply
    return None


def wait_until(
    found: Found, is_so: Callable[[ExecutionHistory], bool], what: str, timeout_s: float
) -> None:
    """Wait for what a running system was told. Raises `DeadlineExceeded`."""
    ends_s = time.monotonic() + timeout_s
    while not is_so(history_of(found)):
        if time.monotonic() >= ends_s:
            raise DeadlineExceeded(
                f"execution {found.id} was told to {what}, and has not within {timeout_s:g} s.",
                advice="Follow it with `callboard tail`.",
            )
        time.sleep(POLL_S)


def _write(found: Found) -> None:
    with writer_of(found) as writer:
        history = history_of(found)
        if history.is_over:
            raise UsageError(f"execution {found.id} has ended meanwhile: {history.status}.")
        error = Cancelled(f"execution {found.id} of job {history.job!r} was cancelled.")
        phase = history.phases[-1][0] if history.phases else "validating"
        fields = {
            "from": str(history.status),
            "to": str(ExecutionStatus.CANCELLED),
            "at": time.time(),
            "trigger": str(StateTransitionTrigger.CANCEL_REQUESTED),
            "metadata": {"code": error.code, "phase": phase, "error": error.to_data()},
        }
        writer.append(found.id, [(Kind.STEPPED, fields)], history.version)
