"""Deliberate defects of approvals: the scenario `approvals` must find each of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.approvals import core
from callboard.actors.approvals.storage import ApprovalRows
from callboard.messages.control.approvals import Approval, ApprovalState

from .mutation import Mutation

__all__ = ["APPROVALS"]

Right = Callable[..., Any]


def _unknown_is_stored(right: Right) -> Right:
    async def write(rows: ApprovalRows, changes: Any) -> bool:
        before = rows._position
        if not await right(rows, changes):
            rows._position = before
        return True

    return write


def _never_due(_right: Right) -> Right:
    return lambda _approval, _now: False


def _any_answer_open(_right: Right) -> Right:
    return lambda _approval, _now: None


def _repetition_counts(right: Right) -> Right:
    def decided(approval: Approval, command: Any, now: float) -> Any:
        return right(approval.model_copy(update={"decisions": ()}), command, now) or None

    return decided


def _expires_late(right: Right) -> Right:
    def moved(approval: Approval, state: ApprovalState, at: float, **fields: Any) -> Approval:
        done: Approval = right(approval, state, at, **fields)
        if state is ApprovalState.EXPIRED:
            return approval
        return done

    return moved


APPROVALS: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "approval_unknown_is_stored": Mutation(
            "a write whose outcome is not known counts as stored",
            ApprovalRows, "write", _unknown_is_stored, "approvals",
        ),
        "approval_never_due": Mutation(
            "a decision after the deadline counts",
            core, "_is_due", _never_due, "approvals",
        ),
        "approval_answer_replaced": Mutation(
            "an answer is replaced by a later one",
            core, "_check_open", _any_answer_open, "approvals",
        ),
        "approval_decisions_forgotten": Mutation(
            "a decision forgets those before it",
            core, "decided", _repetition_counts, "approvals",
        ),
        "approval_never_expires": Mutation(
            "a deadline ends nothing",
            core, "_moved", _expires_late, "approvals",
        ),
    }
)  # fmt: skip
"""The defects by name."""
