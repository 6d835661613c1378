"""The port of the admin API: its requests, and the protocols of both sides.

A request is a contract that names its reply. A query changes nothing; a command acts on an
execution. An adapter carries the bytes (a socket, a Ray call, HTTP). It passes them to
`AdminService.answer`, or is the `Exchange` of an `AdminClient`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from callboard.actors.alerts.messages import AddSilence, EndSilence, QueryAlerts, ReloadAlerts
from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.journal.journal import Journal
from callboard.actors.metrics.query.question import ListMetrics, QueryMetrics
from callboard.messages.control.views import QueryActor, QuerySystem
from callboard.messages.core.contract import Request
from callboard.messages.jobs.commands import (
    CancelExecution,
    DecideStep,
    ForkExecution,
    ResumeExecution,
)
from callboard.messages.jobs.job import Job

__all__ = [
    "ALERTS",
    "COMMANDS",
    "METRICS",
    "QUERIES",
    "REQUESTS",
    "Ask",
    "Caller",
    "Exchange",
    "Executions",
]

ReplyT = TypeVar("ReplyT")
QUERIES: Final[tuple[type[Request[Any]], ...]] = (QuerySystem, QueryActor)
"""Requests for the control plane of a system."""
COMMANDS: Final[tuple[type[Request[Any]], ...]] = (
    CancelExecution,
    DecideStep,
    ForkExecution,
    ResumeExecution,
)
"""Requests for the process that runs executions."""
METRICS: Final[tuple[type[Request[Any]], ...]] = (QueryMetrics, ListMetrics)
"""Requests for a process that reads the metrics of its system."""
ALERTS: Final[tuple[type[Request[Any]], ...]] = (QueryAlerts, AddSilence, EndSilence, ReloadAlerts)
"""Requests for the alert manager of a system."""
REQUESTS: Final[Mapping[str, type[Request[Any]]]] = {
    request.contract_name: request for request in (*QUERIES, *COMMANDS, *METRICS, *ALERTS)
}
"""All requests of the admin API, by the names of their contracts."""
Exchange = Callable[[bytes], Awaitable[bytes]]
"""Carries the line of a request to a service, and returns the line of its reply."""


class Caller(NamedTuple):
    """The sender of a request, as far as the adapter knows it."""

    way: str
    """The adapter: `socket`, `ray`."""
    uid: int | None = None
    """The user of its process, from the operating system; None when it is unknown."""
    pid: int | None = None


class Ask(Protocol):
    """Sends a request and returns the reply, or raises a `CallboardError`.

    Without a reply it raises `TimeoutError` or `OSError`. It never waits for ever.
    """

    def __call__(self, request: Request[ReplyT], /) -> Awaitable[ReplyT]:
        """Ask."""


class Executions(Protocol):
    """The executions of one process, as commands see them."""

    @property
    def journal(self) -> Journal | None:
        """The journal that the process writes; None without one."""

    def running(self, execution_id: str) -> ExecutionHandle[Any] | None:
        """The execution of this id, if this process runs it."""

    def job(self, name: str) -> Job[Any, Any] | None:
        """The job of this name, if this process has submitted a request of it."""
