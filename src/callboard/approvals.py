"""Approvals: questions to a person, with a deadline and one answer."""

from callboard.actors.approvals.actor import ApprovalManager
from callboard.messages.control.approvals import (
    APPROVALS,
    Approval,
    ApprovalDecision,
    ApprovalEnded,
    ApprovalsFull,
    ApprovalsPage,
    ApprovalState,
    AskApproval,
    DecideApproval,
    MayNotDecide,
    QueryApprovals,
    UnknownApproval,
    WithdrawApproval,
)
from callboard.runtime.api.approvals import start_approvals

__all__ = [
    "APPROVALS",
    "Approval",
    "ApprovalDecision",
    "ApprovalEnded",
    "ApprovalManager",
    "ApprovalState",
    "ApprovalsFull",
    "ApprovalsPage",
    "AskApproval",
    "DecideApproval",
    "MayNotDecide",
    "QueryApprovals",
    "UnknownApproval",
    "WithdrawApproval",
    "start_approvals",
]
