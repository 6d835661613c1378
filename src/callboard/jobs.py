"""Jobs: plans of sub-tasks, retries, and the handles of executions."""

from callboard.actors.executions.handle import ExecutionHandle
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

__all__ = [
    "LEFT_OUT",
    "Decision",
    "ExecutionHandle",
    "ExecutionStatus",
    "Job",
    "JobContext",
    "LargeResults",
    "OnFailure",
    "Plan",
    "RetryPolicy",
    "Retryability",
    "Route",
    "Streams",
    "SubTask",
    "TaskStatus",
    "ask_a_person",
]
