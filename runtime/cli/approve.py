"""`callboard approve`: decides an approval, also about a non-idempotent step that may have run."""

import json

import click

from callboard.actors.executions.history.changes import check_in_doubt, decided
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.messages.control.approvals import UnknownApproval
from callboard.messages.core.errors import UsageError
from callboard.messages.jobs.commands import DecideStep
from callboard.messages.jobs.job import Decision

from ..admin.approval_views import step_of
from .approvals import decide
from .figures import echo, hint
from .logs import Found, find, history_of, open_logs
from .steer import change, command_fields, wait_until

__all__ = ["approve"]


def approve(
    *,
    execution_id: str,
    step: str | None,
    fails: bool,
    reason: str,
    store: str | None,
    timeout_s: float,
    as_json: bool,
    take_over: bool,
    url: str | None,
) -> None:
    """Perform the command; `commands/` declares it."""
    if step is None:
        in_doubt = step_of(execution_id)
        try:
            decide(execution_id, gives=not fails, reason=reason, store=store, as_json=as_json)
        except UnknownApproval:
            if in_doubt is None:
                raise
        else:
            return
        execution_id, step = in_doubt  # No system runs it: the journal takes the decision.
    with open_logs(url) as logs:
        found = find(logs, execution_id)
        history = history_of(found)
        index = check_in_doubt(history, step, is_gone=_is_gone(found, history))
        fields = command_fields(found, history)
        command = DecideStep(**fields, step=step, runs_again=not fails, reason=reason)
        reply = change(found, command, decided(history, command), take_over=take_over)
        if reply is None or not reply.is_running:
            how = f"no system runs it: {hint('resume', found.id)}"
        elif reply.is_settled:
            wait_until(
                found, history, lambda now: index not in now.doubtful, "settle the step", timeout_s
            )
            how = "its system continues"
        else:
            raise UsageError(f"step {step!r} of execution {found.id} is no longer in doubt.")
    decision = Decision.FAIL if fails else Decision.RUN_AGAIN
    if as_json:
        click.echo(json.dumps({"id": found.id, "step": step, "decision": str(decision)}))
    else:
        becomes = "fails" if fails else "runs again"
        echo(f"step {step!r} of execution {found.id} {becomes}; {how}.")


def _is_gone(found: Found, history: ExecutionHistory) -> bool:
    """Whether no system runs it, as far as the journal shows. Begun steps are then in doubt too."""
    return not (history.owners and found.log.is_running(history.owners[-1].name))
