"""The port of the admin API: its requests, and the protocols of both sides.

A request is a contract that names its reply. A query changes nothing; a command acts. An adapter
carries the bytes (a socket, a Ray call, HTTP, a message to the actor `callboard.admin`) and knows
who asks. It passes both to `AdminService.answer`, or is the `Exchange` of an `AdminClient`.

`REQUESTS` is the one table of all requests: who answers each, and the scope that it needs.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum, auto
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from callboard.actors.alerts.messages import AddSilence, EndSilence, QueryAlerts, ReloadAlerts
from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.journal.journal import Journal
from callboard.actors.metrics.query.question import ListMetrics, QueryMetrics
from callboard.messages.control.approvals import DecideApproval, QueryApprovals
from callboard.messages.control.logs import QueryLogs
from callboard.messages.control.principals import Principal, Scope
from callboard.messages.control.views import QueryActor, QueryActors, QuerySystem
from callboard.messages.core.contract import Contract, Request
from callboard.messages.jobs.commands import (
    CancelExecution,
    DecideStep,
    ForkExecution,
    QueryPartials,
    ResumeExecution,
)
from callboard.messages.jobs.job import Job
from callboard.messages.jobs.updates import SubTaskPartial

from .acts import RecordAct, TakeEvent
from .approval_views import QueryDoubts
from .page_link import OpenPage
from .pipeline_views import (
    DiscardLetters,
    QueryLetters,
    QueryPipelines,
    ReplayLetters,
    ResumeStoppedPipeline,
)
from .prometheus import QueryPrometheus
from .submission import AwaitResult, ListJobs, SubmitExecution
from .views import (
    QueryExecution,
    QueryExecutions,
    QuerySubTasks,
    QueryTimeline,
    ReadJournal,
    ReadStreams,
)

__all__ = [
    "NOBODY",
    "REQUESTS",
    "SERVED",
    "Ask",
    "Caller",
    "Exchange",
    "Executions",
    "OfferedJob",
    "Part",
    "Served",
]

ReplyT = TypeVar("ReplyT")


class Part(StrEnum):
    """A part of a system that answers requests. A process may have some of them."""

    QUERIES = auto()
    """The control plane."""
    COMMANDS = auto()
    """The process that runs executions."""
    JOURNAL = auto()
    """The process that writes the journal."""
    METRICS = auto()
    """A process that reads the windows of metrics."""
    ALERTS = auto()
    """The alert manager."""
    APPROVALS = auto()
    """The control plane, with the actor that keeps approvals, and the executions."""
    PIPELINES = auto()
    """A process that has the stores of pipelines."""
    PAGE = auto()
    """A process that starts hubs, or finds them."""


class Served(NamedTuple):
    """How a request is answered."""

    part: Part
    """The part that answers it."""
    scope: Scope | None
    """What its principal must be allowed to do; None for processes of the system alone."""


SERVED: Final[Mapping[type[Request[Any]], Served]] = {
    QuerySystem: Served(Part.QUERIES, Scope.READ),
    QueryActor: Served(Part.QUERIES, Scope.READ),
    QueryActors: Served(Part.QUERIES, Scope.READ),
    QueryLogs: Served(Part.QUERIES, Scope.READ),
    CancelExecution: Served(Part.COMMANDS, Scope.STEER),
    DecideStep: Served(Part.COMMANDS, Scope.APPROVE),
    ForkExecution: Served(Part.COMMANDS, Scope.STEER),
    ResumeExecution: Served(Part.COMMANDS, Scope.STEER),
    SubmitExecution: Served(Part.COMMANDS, Scope.SUBMIT),
    AwaitResult: Served(Part.COMMANDS, Scope.READ),
    ListJobs: Served(Part.COMMANDS, Scope.READ),
    QueryPartials: Served(Part.COMMANDS, Scope.READ),
    QueryExecutions: Served(Part.JOURNAL, Scope.READ),
    QueryExecution: Served(Part.JOURNAL, Scope.READ),
    QuerySubTasks: Served(Part.JOURNAL, Scope.READ),
    QueryTimeline: Served(Part.JOURNAL, Scope.READ),
    ReadJournal: Served(Part.JOURNAL, Scope.READ),
    ReadStreams: Served(Part.JOURNAL, Scope.READ),
    QueryDoubts: Served(Part.JOURNAL, Scope.READ),
    QueryApprovals: Served(Part.APPROVALS, Scope.READ),
    DecideApproval: Served(Part.APPROVALS, Scope.APPROVE),
    QueryMetrics: Served(Part.METRICS, Scope.READ),
    ListMetrics: Served(Part.METRICS, Scope.READ),
    QueryPrometheus: Served(Part.METRICS, Scope.READ),
    QueryAlerts: Served(Part.ALERTS, Scope.READ),
    AddSilence: Served(Part.ALERTS, Scope.ALERTS),
    EndSilence: Served(Part.ALERTS, Scope.ALERTS),
    ReloadAlerts: Served(Part.ALERTS, Scope.ADMIN),
    QueryPipelines: Served(Part.PIPELINES, Scope.READ),
    QueryLetters: Served(Part.PIPELINES, Scope.READ),
    ReplayLetters: Served(Part.PIPELINES, Scope.STEER),
    DiscardLetters: Served(Part.PIPELINES, Scope.STEER),
    ResumeStoppedPipeline: Served(Part.PIPELINES, Scope.STEER),
    OpenPage: Served(Part.PAGE, Scope.ADMIN),
    RecordAct: Served(Part.JOURNAL, None),
    TakeEvent: Served(Part.JOURNAL, None),
}
"""All requests of the admin API."""
REQUESTS: Final[Mapping[str, type[Request[Any]]]] = {
    request.contract_name: request for request in SERVED
}
"""The same, by the names of their contracts."""
Exchange = Callable[[bytes], Awaitable[bytes]]
"""Carries the line of a request to a service, and returns the line of its reply."""
NOBODY: Final = Principal(subject="nobody", way="")
"""A caller without any scope."""


class Caller(NamedTuple):
    """The sender of a request, as far as the adapter knows it."""

    way: str
    """The adapter: `socket`, `ray`, `http`, `actor`."""
    uid: int | None = None
    """The user of its process, from the operating system; None when it is unknown."""
    pid: int | None = None
    principal: Principal = NOBODY
    """Who asks, and what it may do."""


class Ask(Protocol):
    """Sends a request and returns the reply, or raises a `CallboardError`.

    Without a reply it raises `TimeoutError` or `OSError`. It never waits for ever.
    """

    def __call__(self, request: Request[ReplyT], /) -> Awaitable[ReplyT]:
        """Ask."""


class OfferedJob(NamedTuple):
    """A job that may be submitted from outside, and the contract of its requests."""

    job: Job[Any, Any]
    request: type[Contract]


class Executions(Protocol):
    """The executions of one process, as the admin API sees them."""

    @property
    def journal(self) -> Journal | None:
        """The journal that the process writes; None without one."""

    def running(self, execution_id: str) -> ExecutionHandle[Any] | None:
        """The execution of this id, if this process runs it."""

    def all_running(self) -> Mapping[str, ExecutionHandle[Any]]:
        """All executions that this process runs, by id."""

    def partials(
        self, execution_id: str, after: int
    ) -> tuple[Sequence[SubTaskPartial], int] | None:
        """See `ExecutionHandle.partials`, of an execution that runs here or has just ended."""

    def job(self, name: str) -> Job[Any, Any] | None:
        """The job of this name, if this process has submitted a request of it."""

    @property
    def offered(self) -> Mapping[str, OfferedJob]:
        """The jobs that may be submitted from outside, by name."""
