"""What the admin API says about executions and journals: requests and replies.

Times are in seconds since 1970 by the clock of the process that wrote the events, durations in
seconds. A page says with `next` where the one after it begins; None after the last one.
"""

from typing import Any, Final, Literal

from pydantic import Field, FiniteFloat

from callboard.messages.core.contract import Contract, Request

__all__ = [
    "BARS_MAX",
    "PAGE_MAX",
    "CriticalStep",
    "DoubtRow",
    "ExecutionRow",
    "ExecutionView",
    "ExecutionsPage",
    "FailureRow",
    "JournalEvent",
    "JournalPage",
    "Key",
    "MomentRow",
    "Place",
    "QueryExecution",
    "QueryExecutions",
    "QuerySubTasks",
    "QueryTimeline",
    "ReadJournal",
    "ReadStreams",
    "StreamsPage",
    "SubTaskRow",
    "SubTasksPage",
    "Timeline",
    "TimelineBar",
    "TimelineGroup",
]

PAGE_MAX: Final = 500
"""The most items of one page."""
BARS_MAX: Final = 2_000
"""The most bars of one timeline."""
CELLS_MAX: Final = 500
"""The most spans of time of a folded group."""
ID_MAX: Final = 200
"""The longest id of an execution."""
NAME_MAX: Final = 300
Key = FiniteFloat | str
"""What a list is sorted by: a number or a text."""
Place = tuple[Key, str]
"""The place of an item in a sorted list: its key, and its id where keys are equal."""


# --- executions -------------------------------------------------------------------------------


class ExecutionRow(Contract, name="callboard.admin.execution_row"):
    """One execution of a list."""

    id: str
    """Its id."""
    job: str
    """The name of its job."""
    status: str
    """`pending`, `running`, `completed`, `failed`, `cancelled`; `interrupted` when it has not
    ended, but no process runs it."""
    submitted_at: float = 0.0
    """When it was submitted."""
    ended_at: float | None = None
    """When it ended; None before."""
    owner: str = ""
    """The process that runs it, or ran it last."""
    sub_tasks: int | None = None
    """The sub-tasks of its plan; None before there is one."""
    done: int | None = None
    """How many of them are done; None where only its page tells."""
    fork_of: str = ""
    """Of a fork: the id of its origin."""
    problem: str = ""
    """What is wrong with its events; empty for nothing."""


class ExecutionsPage(Contract, name="callboard.admin.executions_page"):
    """A page of executions."""

    items: tuple[ExecutionRow, ...] = ()
    """The executions."""
    next: Place | None = None
    """The place after which the next page begins."""
    counts: dict[str, int] = Field(default_factory=dict)
    """All executions of the journal, by status."""
    left_off: int = 0
    """The oldest ended executions of the journal, which no list has."""


class QueryExecutions(Request[ExecutionsPage], name="callboard.admin.query_executions"):
    """Ask for executions of the journal."""

    status: tuple[str, ...] = Field(default=(), max_length=8)
    """Only these; empty for all."""
    job: str = Field(default="", max_length=NAME_MAX)
    """Only of this job."""
    id: str = Field(default="", max_length=NAME_MAX)
    """Only those whose id begins with this."""
    submitted_from: FiniteFloat = 0.0
    """Only those submitted at or after this time."""
    submitted_to: FiniteFloat = 1e12
    """Only those submitted before this time."""
    sort: Literal["submitted", "ended", "duration", "job", "status"] = "submitted"
    """What they are sorted by; those without such a value come as if it was 0."""
    is_ascending: bool = False
    """Whether the smallest come first."""
    after: Place | None = None
    """The place after which the page begins; None for the first page."""
    limit: int = Field(default=50, ge=1, le=PAGE_MAX)
    """The most items."""


class MomentRow(Contract, name="callboard.admin.moment_row"):
    """Something that has a name and a time: a phase, an owner."""

    name: str
    at: float


class FailureRow(Contract, name="callboard.admin.failure_row"):
    """One failure: of the execution (without a sub-task), of a sub-task, or of an attempt."""

    at: float
    """When; 0 where no event says it."""
    code: str
    """The code of the error."""
    message: str
    """What the error says."""
    sub_task: str = ""
    """The id of the sub-task; empty for the execution itself."""
    attempt: int = 0
    """The number of the attempt; 0 where it is about no attempt."""
    is_final: bool = False
    """Whether it ended the sub-task or the execution."""


class DoubtRow(Contract, name="callboard.admin.doubt_row"):
    """A step that waits for a decision: an attempt of it may have run."""

    step: str
    attempt: int
    code: str
    message: str


class ExecutionView(Contract, name="callboard.admin.execution_view"):
    """One execution: the header of its page."""

    id: str
    job: str
    status: str
    """See `ExecutionRow.status`."""
    version: int
    """The version of its last event; it grows with each change."""
    event: str
    """The id of that event, in hex."""
    waits_for: str = ""
    """Why it does not go on at this moment, for people; empty when it runs or is over."""
    is_over: bool = False
    """Whether it has ended."""
    submitted_at: float = 0.0
    updated_at: float = 0.0
    ended_at: float | None = None
    fork_of: str = ""
    """Of a fork: the id of its origin."""
    fork_from: str = ""
    """Of a fork: the step from which it runs again."""
    owners: tuple[MomentRow, ...] = ()
    """The processes that ran it, and since when."""
    phases: tuple[MomentRow, ...] = ()
    """Its phases, and when they began."""
    transitions: tuple[dict[str, Any], ...] = ()
    """The transitions of its status: `from`, `to`, `at`, `trigger`, `by`."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Its sub-tasks by status."""
    sub_tasks: int = 0
    attempts: int = 0
    """The attempts that have ended."""
    retries: int = 0
    """Those of them that failed."""
    failures: tuple[FailureRow, ...] = ()
    """The newest first; the oldest are left off."""
    failures_left_off: int = 0
    in_doubt: tuple[DoubtRow, ...] = ()
    """Steps that wait for a decision, the first ones."""
    in_doubt_left_off: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    """Its sub-tasks by the contract of their request, the most frequent ones."""


class QueryExecution(Request[ExecutionView], name="callboard.admin.query_execution"):
    """Ask for one execution. The answer is `UsageError` when the journal does not have it."""

    execution_id: str = Field(min_length=1, max_length=ID_MAX)


class SubTaskRow(Contract, name="callboard.admin.sub_task_row"):
    """One sub-task."""

    number: int
    """Its place in the order in which sub-tasks were added."""
    id: str
    kind: str
    """The name of its request's contract."""
    status: str
    """`waiting`, `ready`, `running`, `done`, `failed`, `cancelled`, `skipped` or `in_doubt`."""
    attempts: int = 0
    """Its attempts that have ended."""
    needs: tuple[str, ...] = ()
    """The sub-tasks that it needs, the first ones."""
    needs_left_off: int = 0
    parent: str = ""
    """The sub-task that added it; empty for one of the plan."""
    ready_at: float | None = None
    """When all that it needs was done; None before."""
    began_at: float | None = None
    """When its last ended attempt began."""
    ended_at: float | None = None
    """When this attempt ended."""
    queue_s: float = 0.0
    """How long it waited for an executor, over all attempts."""
    run_s: float = 0.0
    """How long it ran, over all attempts."""
    executor: str = ""
    """Who ran the last ended attempt."""
    error: str = ""
    """Its newest error; empty without one."""
    error_code: str = ""
    is_critical: bool = False
    """Whether it lies on the critical path."""


class SubTasksPage(Contract, name="callboard.admin.sub_tasks_page"):
    """A page of sub-tasks."""

    items: tuple[SubTaskRow, ...] = ()
    next: Place | None = None
    """The place after which the next page begins."""
    total: int = 0
    """Sub-tasks that the filter lets through."""
    version: int = 0
    """The version of the execution that the page shows."""


class QuerySubTasks(Request[SubTasksPage], name="callboard.admin.query_sub_tasks"):
    """Ask for sub-tasks of an execution."""

    execution_id: str = Field(min_length=1, max_length=ID_MAX)
    status: tuple[str, ...] = Field(default=(), max_length=8)
    """Only these; empty for all."""
    failed_only: bool = False
    """Only those that failed, or of which an attempt failed."""
    id: str = Field(default="", max_length=NAME_MAX)
    """Only those whose id contains this text."""
    kind: str = Field(default="", max_length=NAME_MAX)
    """Only those of this contract."""
    sort: Literal["number", "id", "status", "queue", "run", "attempts", "ended"] = "number"
    is_ascending: bool = True
    after: Place | None = None
    limit: int = Field(default=50, ge=1, le=PAGE_MAX)


# --- timelines ---------------------------------------------------------------------------------


class TimelineBar(Contract, name="callboard.admin.timeline_bar"):
    """One attempt, with the wait before it."""

    number: int
    """The number of its sub-task."""
    id: str
    """The id of its sub-task."""
    attempt: int
    executor: str
    ready_at: float
    """When it could have begun: the queue lies between this and `began_at`."""
    began_at: float
    ended_at: float
    outcome: str
    """`done`, `retried` (it failed and ran again), `failed` (for good), or `running`."""
    error: str = ""
    row: int = 0
    """A row of its group in which it overlaps no other bar's run."""
    is_critical: bool = False
    """Whether it lies on the critical path."""


class TimelineGroup(Contract, name="callboard.admin.timeline_group"):
    """The attempts of one kind of sub-task, or of one executor."""

    key: str
    """What `open` of the request takes."""
    label: str
    """For people."""
    attempts: int
    """Its attempts in the asked time."""
    failures: int
    """Those of them that failed."""
    first_at: float
    """When the first of them began."""
    last_at: float
    """When the last of them ended."""
    queue_s: float
    """How long they waited, together."""
    run_s: float
    """How long they ran, together."""
    rows: int = 0
    """The rows of its bars."""
    bars: tuple[TimelineBar, ...] = ()
    """Empty in a folded group."""
    bars_left_off: int = 0
    """Bars of an open group that had no room, the shortest ones."""
    cells: tuple[int, ...] = ()
    """Of a folded group: how many attempts ran at once, in spans of equal length."""
    failed_cells: tuple[int, ...] = ()
    """The same for attempts that failed."""


class CriticalStep(Contract, name="callboard.admin.critical_step"):
    """One sub-task of the critical path: the chain of waits and runs that set the end."""

    number: int
    id: str
    ready_at: float
    began_at: float
    ended_at: float


class Timeline(Contract, name="callboard.admin.timeline"):
    """The attempts of an execution over time; at most `BARS_MAX` bars."""

    execution_id: str
    version: int
    """The version of the execution that it shows."""
    is_over: bool
    began_at: float
    """When the execution began."""
    first_run_at: float
    """When its first attempt began: an axis may start here."""
    ended_at: float
    """When its last attempt ended, or its last event was written; now, while attempts run."""
    from_at: float
    """The beginning of the asked time."""
    to_at: float
    """The end of the asked time."""
    attempts: int
    """All attempts that have ended."""
    running: int = 0
    """The attempts under way: their bars end at `ended_at`."""
    groups: tuple[TimelineGroup, ...] = ()
    """In the order of their first attempt."""
    groups_left_off: int = 0
    """Groups that had no room, those that began last."""
    critical_path: tuple[CriticalStep, ...] = ()
    """From the first to the last sub-task; the last ones of a long path."""
    critical_left_off: int = 0
    """Its first sub-tasks, which had no room."""


class QueryTimeline(Request[Timeline], name="callboard.admin.query_timeline"):
    """Ask for the timeline of an execution, aggregated for drawing.

    While all bars of the asked time have room, no group is folded.
    """

    execution_id: str = Field(min_length=1, max_length=ID_MAX)
    by: Literal["kind", "executor"] = "kind"
    """What makes a group."""
    open: tuple[str, ...] = Field(default=(), max_length=50)
    """The keys of groups that show their bars, however many there are."""
    from_at: FiniteFloat = 0.0
    to_at: FiniteFloat = 0.0
    """0: until the end."""
    bars_max: int = Field(default=BARS_MAX, ge=1, le=BARS_MAX)
    cells: int = Field(default=200, ge=1, le=CELLS_MAX)
    """The spans of time of a folded group."""


# --- the journal ---------------------------------------------------------------------------------


class JournalEvent(Contract, name="callboard.admin.journal_event"):
    """One event as the journal has it; see `RecordedEvent`."""

    position: int
    stream: str
    version: int
    id: str
    """In hex."""
    kind: str
    schema_version: int
    data: str
    """In base64."""
    metadata: str
    """In base64."""
    recorded_at: float


class JournalPage(Contract, name="callboard.admin.journal_page"):
    """Events of the journal."""

    items: tuple[JournalEvent, ...] = ()
    has_more: bool = False
    """Whether there may be events after these; a page also ends where its bytes are many."""
    epoch: str = ""
    """The identity of the journal, in which its positions count; streams use the same one."""
    owner: str = ""
    """The process that writes it."""


class ReadJournal(Request[JournalPage], name="callboard.admin.read_journal"):
    """Read events: of a stream after a version, or of all streams after a position."""

    stream: str = Field(default="", max_length=NAME_MAX)
    """Empty for all streams."""
    after: int = Field(default=0, ge=0, le=2**63 - 1)
    limit: int = Field(default=PAGE_MAX, ge=1, le=PAGE_MAX)
    kinds: tuple[str, ...] | None = Field(default=None, max_length=50)
    """Without a stream: only events of these kinds."""
    is_backwards: bool = False
    """With a stream: the newest first, from below `after`; 0 begins at the end."""


class StreamsPage(Contract, name="callboard.admin.streams_page"):
    """Names of streams, sorted."""

    items: tuple[str, ...] = ()


class ReadStreams(Request[StreamsPage], name="callboard.admin.read_streams"):
    """List streams whose names begin with `prefix`, after the name `after`."""

    prefix: str = Field(default="", max_length=NAME_MAX)
    after: str = Field(default="", max_length=NAME_MAX)
    limit: int = Field(default=PAGE_MAX, ge=1, le=PAGE_MAX)
