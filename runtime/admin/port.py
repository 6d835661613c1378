"""The port of the admin API: its requests, and what stands on its two sides.

A request is a contract that names its reply: a query changes nothing, a command acts on an
execution. Whatever carries the bytes (a socket, a Ray call, HTTP) is an adapter: it hands them to
`AdminService.answer`, or is the `Exchange` of an `AdminClient`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from callboard.actors.executions.handle import ExecutionHandle
from callboard.actors.journal.journal import Journal
from callboard.messages.control.views import QueryActor, QuerySystem
from callboard.messages.core.contract import Request
from callboard.messages.jobs.commands import (
    CancelExecution,
    DecideStep,
    ForkExecution,
    ResumeExecution,
)
from callboard.messages.jobs.job import Job

__all__ = ["COMMANDS", "QUERIES", "REQUESTS", "Ask", "Caller", "Exchange", "Executions"]

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
REQUESTS: Final[Mapping[str, type[Request[Any]]]] = {
    request.contract_name: request for request in (*QUERIES, *COMMANDS)
}
"""All requests of the admin API, by the names of their contracts."""
Exchange = Callable[[bytes], Awaitable[bytes]]
"""Carries the line of a request to a service, and gives the line of its reply."""


class Caller(NamedTuple):
    """The peer that sends a request, as far as its adapter knows it."""

    way: str
    """The adapter: `socket`, `ray`."""
    uid: int | None = None
    """The user of its process, as the kernel says; None when nobody can tell."""
    pid: int | None = None


class Ask(Protocol):
    """A way to have requests answered: gives the reply, or raises a `CallboardError`.

    Without a reply it raises `TimeoutError` or `OSError`, and never waits for ever.
    """

    def __call__(self, request: Request[ReplyT], /) -> Awaitable[ReplyT]:
        """Ask."""


class Executions(Protocol):
    """The executions of one process, as commands see them."""

    @property
    def journal(self) -> Journal | None:
        """The journal that the process writes; None without one."""

    def running(self, execution_id: str) -> ExecutionHandle[Any] | None:
        """One that runs in this process."""

    def job(self, name: str) -> Job[Any, Any] | None:
        """A job of which this process has submitted a request."""
