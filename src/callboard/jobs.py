"""What a request becomes: a job, its plan of sub-tasks, their retries, the handle on it."""

from callboard.actors.execution.handle import ExecutionHandle
from callboard.messages.execution import Decision, ExecutionStatus, OnFailure, TaskStatus
from callboard.messages.job import LEFT_OUT, Job, JobContext, LargeResults, Route, ask_a_person
from callboard.messages.plan import Plan, SubTask
from callboard.messages.retry import Retryability, RetryPolicy

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
    "SubTask",
    "TaskStatus",
    "ask_a_person",
]
