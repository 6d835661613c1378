"""Steps in doubt as approvals: what the process that writes the journal says about them."""

from typing import Final
from urllib.parse import quote, unquote

from pydantic import Field

from callboard.actors.executions.history.changes import Doubt
from callboard.messages.control.approvals import Approval
from callboard.messages.core.contract import Contract, Request

__all__ = ["QueryDoubts", "StepsInDoubt", "step_approval", "step_of"]

STEP: Final = "step"
TEXT_MAX: Final = 500


class StepsInDoubt(Contract, name="callboard.admin.steps_in_doubt"):
    """Steps that may have run, as approvals."""

    items: tuple[Approval, ...] = ()


class QueryDoubts(Request[StepsInDoubt], name="callboard.admin.query_doubts"):
    """Ask for the steps in doubt of all executions of the journal, up to a limit."""

    limit: int = Field(default=500, ge=1, le=500)


def step_approval(execution_id: str, job: str, submitted_at: float, doubt: Doubt) -> Approval:
    """A step in doubt as an approval; it has no deadline."""
    return Approval(
        id=":".join((STEP, quote(execution_id, safe=""), quote(doubt.step, safe=""))),
        subject=f"Step {doubt.step} may have run. Shall it run again?"[:TEXT_MAX],
        details={
            "execution": execution_id,
            "job": job,
            "step": doubt.step,
            "attempt": doubt.attempt,
            "code": doubt.code,
            "message": doubt.message[:TEXT_MAX],
        },
        asked_by=f"execution {execution_id}",
        asked_at=submitted_at,
    )


def step_of(approval_id: str) -> tuple[str, str] | None:
    """The execution and the step of such an id; None for the id of another approval."""
    parts = approval_id.split(":")
    if len(parts) != len((STEP, "execution", "step")) or parts[0] != STEP:
        return None
    return unquote(parts[1]), unquote(parts[2])
