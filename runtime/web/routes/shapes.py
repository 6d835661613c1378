"""The answers of the HTTP API that are no replies of the admin API.

Lists answer with `items` and `next`, a cursor for the parameter `after`; it is empty after the last
page. Times are in seconds since 1970.

| route | answer |
|---|---|
| `GET /v1/system` | `SystemNow` |
| `GET /v1/hosts` | `HostsAnswer` |
| `GET /v1/actors` | `ActorsAnswer` |
| `GET /v1/actors/{path}/story` | `ActorHistories` (messages/control/views.py) |
| `GET /v1/executions` | `ExecutionsAnswer` |
| `GET /v1/executions/{id}` | `ExecutionView` (admin/views.py) |
| `GET /v1/executions/{id}/events` | `EventsAnswer` |
| `GET /v1/executions/{id}/timeline` | `Timeline` (admin/views.py) |
| `GET /v1/executions/{id}/subtasks` | `SubTasksAnswer` |
| `POST /v1/executions` | `SubmittedAnswer` |
| `POST /v1/executions/{id}/cancel`, `approve`, `resume`, `fork` | `Steered` |
| `GET /v1/events` | `EventsAnswer` |
| `POST /v1/events` | `PublishedAnswer` |
| `GET /v1/metrics` | `MetricsListed` (actors/metrics/query/question.py) |
| `GET /v1/metrics/query` | `MetricsAnswered` (the same) |
| `GET /v1/alerts` | `AlertsView` (actors/alerts/messages.py) |
| `POST /v1/alerts/silences`, `DELETE /v1/alerts/silences/{id}` | `SilenceAdded`, `SilenceEnded` |
| `GET /v1/approvals`, `GET /v1/approvals/{id}` | `ApprovalsAnswer`, `Approval` (messages/control/approvals.py) |
| `POST /v1/approvals/{id}/decide` | `Approval` |
| `GET /v1/letters` | `LettersAnswer` |
| `GET /v1/pipelines` | `PipelinesAnswer` |
| `GET /v1/connections` | `ConnectionsAnswer` |
| `POST /v1/login`, `POST /v1/logout` | nothing (204) |
| `POST /v1/token` | `TokenAnswer` |
| `GET /v1/me` | `Me` |
| `GET /v1/tokens`, `POST /v1/tokens`, `DELETE /v1/tokens/{id}` | `TokensAnswer`, `TokenAnswer`, nothing (204) |

Every refusal is a `Problem`.
"""  # noqa: E501 - a table has long lines

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from callboard.messages.control.approvals import Approval
from callboard.messages.control.views import ActorRow, HostView

from ...admin.pipeline_views import LetterView, PipelineStanding
from ...admin.views import ExecutionRow, SubTaskRow

__all__ = [
    "ActorsAnswer",
    "ApprovalsAnswer",
    "ConnectionRow",
    "ConnectionsAnswer",
    "EventRow",
    "EventsAnswer",
    "ExecutionsAnswer",
    "FieldProblem",
    "HostsAnswer",
    "LettersAnswer",
    "Me",
    "PipelinesAnswer",
    "Problem",
    "PublishedAnswer",
    "Steered",
    "SubTasksAnswer",
    "SubmittedAnswer",
    "SystemNow",
    "TokenAnswer",
    "TokenRow",
    "TokensAnswer",
]


class Shape(BaseModel):
    """The base of all answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldProblem(Shape):
    """What is wrong with one part of a request."""

    pointer: str
    """The part: a JSON pointer into the body, or `query/NAME`, `path/NAME`, `header/NAME`."""
    message: str


class Problem(Shape):
    """A refusal, in the form of RFC 9457 (`application/problem+json`)."""

    type: str = "about:blank"
    title: str
    """The name of the status."""
    status: int
    """The HTTP status."""
    detail: str = ""
    """What is wrong, for people."""
    instance: str = ""
    """The path of the request, without its query."""
    code: str = ""
    """The code of the error, for programs."""
    advice: str = ""
    """What to do."""
    errors: tuple[FieldProblem, ...] = ()


class SystemNow(Shape):
    """The state of the whole system in one look."""

    name: str
    version: str
    """The release of Callboard."""
    at: float
    hosts: dict[str, int]
    """Hosts by state: `up`, `down`, `silent`."""
    actors: int
    handled: int
    """Messages that actors have handled since the start of their hosts: a rate is a difference."""
    uptime_s: float
    """Since the start of the control host."""
    lag_max_s: float | None
    """The longest delay of an event loop over the last seconds."""
    memory_bytes: int
    restarts: int
    """Hosts that were replaced."""
    standbys: int
    drivers: int
    dead_letters: dict[str, int]
    """Messages that no handler got, by reason."""
    executions: dict[str, int] | None = None
    """Executions by status; None without a journal."""
    alerts: dict[str, int] | None = None
    """Alerts by state; None without an alert manager."""
    failures: tuple[ExecutionRow, ...] = ()
    """The executions that failed last, the newest first."""
    problems: tuple[str, ...] = ()
    """Parts that did not answer."""


class HostsAnswer(Shape):
    """Hosts, by slot."""

    items: tuple[HostView, ...]
    next: str = ""


class ActorsAnswer(Shape):
    """Actors, by slot and cell."""

    items: tuple[ActorRow, ...]
    next: str = ""
    silent: tuple[tuple[str, str], ...] = ()
    """Hosts that did not answer, and why; their actors are left out."""


class ExecutionsAnswer(Shape):
    """Executions."""

    items: tuple[ExecutionRow, ...]
    next: str = ""
    counts: dict[str, int] = Field(default_factory=dict)
    """All executions of the journal, by status."""
    left_off: int = 0
    """The oldest ended executions of the journal, which no list has."""


class SubTasksAnswer(Shape):
    """Sub-tasks of an execution."""

    items: tuple[SubTaskRow, ...]
    next: str = ""
    total: int = 0
    """Sub-tasks that the filter lets through."""
    version: int = 0


class EventRow(Shape):
    """One event of the journal."""

    position: int
    stream: str
    version: int
    id: str
    kind: str
    schema_version: int
    bytes: int
    """The size of its data."""
    recorded_at: float
    fields: Any = None
    """The fields of an event of an execution, packed messages as their sizes; None for others."""
    is_cut: bool = False
    """Whether the fields were too large for this answer and are left out."""


class EventsAnswer(Shape):
    """Events, oldest first, or newest first."""

    items: tuple[EventRow, ...]
    next: str = ""
    epoch: str = ""
    """The identity of the journal; with a position, the place where a stream goes on."""


class SubmittedAnswer(Shape):
    """The execution that runs for a submission."""

    id: str
    job: str
    is_new: bool
    """Whether this submission began it; otherwise it was there."""


class Steered(Shape):
    """What a command has done."""

    id: str
    """The id of the execution; of `fork`, that of the new one."""
    is_running: bool = False
    """Whether a process runs it, and acts soon; otherwise the journal has the change already."""
    sub_tasks: int = 0
    """Of a fork."""
    shared: int = 0
    """Of a fork: the sub-tasks that keep their results."""


class ApprovalsAnswer(Shape):
    """What persons are asked for, the one asked last first; steps in doubt, too."""

    items: tuple[Approval, ...]
    next: str = ""
    open: int = 0
    """How many wait for an answer, on all pages."""


class PublishedAnswer(Shape):
    """An event was sent in."""

    event_id: str
    channel: str
    is_durable: bool = False
    """Whether the journal has it, for pipelines; False where the system keeps no journal."""


class LettersAnswer(Shape):
    """Dead letters of pipelines, and the counts of messages that no handler got."""

    items: tuple[LetterView, ...]
    next: str = ""
    messages: dict[str, int] = Field(default_factory=dict)
    """Messages that no handler got, by reason, since the start of their hosts."""


class PipelinesAnswer(Shape):
    """Pipelines, by name."""

    items: tuple[PipelineStanding, ...]
    next: str = ""


class ConnectionRow(Shape):
    """One client of the stream hub."""

    client: str
    user: str
    way: str
    """The protocol."""
    address: str = ""
    since: float = 0.0
    channels: tuple[str, ...] = ()
    """The first ones."""
    channels_left_off: int = 0
    queue_bytes: int = 0
    queue_age_s: float = 0.0
    """How long the oldest frame has waited."""
    sent: int = 0
    dropped: int = 0
    """Events that it did not get, filtered ones left out."""


class ConnectionsAnswer(Shape):
    """Clients of this hub, the one that waits longest first."""

    items: tuple[ConnectionRow, ...]
    next: str = ""
    total: int = 0


class TokenAnswer(Shape):
    """A token. It is shown once and stored nowhere."""

    token: str
    """For `Authorization: Bearer`, or the connect command of a stream."""
    id: str
    expires_at: float
    """Seconds since 1970."""


class TokenRow(Shape):
    """A token as the registry knows it, without its text."""

    id: str
    subject: str
    scopes: tuple[str, ...]
    channels: tuple[str, ...]
    publishes: tuple[str, ...]
    created_at: float
    expires_at: float
    revoked_at: float | None = None
    last_used_at: float | None = None
    """To the minute; None for never."""


class TokensAnswer(Shape):
    """Tokens, the newest first."""

    items: tuple[TokenRow, ...]
    next: str = ""


class Me(Shape):
    """Who asks."""

    subject: str
    scopes: tuple[str, ...]
    channels: tuple[str, ...]
    publishes: tuple[str, ...]
    expires_at: float
