"""Jobs: plans of sub-tasks, retries, the handles of executions, and approvals by persons."""

from callboard.actors.executions.handle import ExecutionHandle
from callboard.messages.control.approvals import (
    APPROVALS,
    Approval,
    ApprovalDecision,
    ApprovalsPage,
    ApprovalState,
    AskApproval,
    DecideApproval,
    QueryApprovals,
    WithdrawApproval,
)
from callboard.messages.jobs.execution import Decision, ExecutionStatus, OnFailure, TaskStatus
from callboard.messages.jobs.job import (
    LEFT_OUT,
    Job,
    JobContext,
    LargeResults,
    Route,
    Streams,
    ask_a_person,
)
from callboard.messages.jobs.plan import Plan, SubTask
from callboard.messages.jobs.retry import Retryability, RetryPolicy
from callboard.runtime.api.approvals import start_approvals

__all__ = [
    "APPROVALS",
    "LEFT_OUT",
    "Approval",
    "ApprovalDecision",
    "ApprovalState",
    "ApprovalsPage",
    "AskApproval",
    "DecideApproval",
    "Decision",
    "ExecutionHandle",
    "ExecutionStatus",
    "Job",
    "JobContext",
    "LargeResults",
    "OnFailure",
    "Plan",
    "QueryApprovals",
    "RetryPolicy",
    "Retryability",
    "Route",
    "Streams",
    "SubTask",
    "TaskStatus",
    "WithdrawApproval",
    "ask_a_person",
    "start_approvals",
]
