"""A job: the parts of one kind of execution, each named and replaceable.

The order of the parts is fixed:

    validate -> enrich -> route -> decompose -> run (expand, collect, reduce)
             -> resolve -> check -> transform -> format -> deliver

A part is a plain function. Each has a default that changes nothing, so a job names only
the parts that it needs:

    job = Job[ReviewTree, Report](decompose=one_task_a_file, reducer=MergeFindings())

A `Job` is data: make it once, and submit any number of requests with it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

from ..core.contract import Contract
from ..core.errors import CallboardError, SpecError
from ..core.names import check_name
from .execution import Decision, OnFailure
from .plan import Plan, SubTask
from .retry import RetryPolicy
from .updates import ExecutionPhase

__all__ = [
    "LEFT_OUT",
    "Collect",
    "Decision",
    "Decompose",
    "Job",
    "JobContext",
    "LargeResults",
    "Reduces",
    "ReducesPartials",
    "Route",
    "Streams",
    "ask_a_person",
    "one_sub_task",
    "unchanged",
]

RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")
ValueT = TypeVar("ValueT")

UNSERVED_GRACE_S: Final = 5.0
"""How long a sub-task waits for an agent in seconds: a pool may be starting."""

RESULT_BYTES_MAX: Final = 4 * 2**20
STORED_BYTES_MAX: Final = 2**30


class LargeResults(Enum):
    """What happens to a result that is larger than `Job.result_bytes_max`."""

    FAIL = auto()
    """The sub-task fails at once."""
    STORE = auto()
    """The result is stored durably as a blob, and the journal keeps a reference to it."""


class Streams(Enum):
    """What happens to the partial results of sub-tasks; see docs/streaming-results.md."""

    LIVE = auto()
    """Those who look on get them; nothing keeps them."""
    JOURNAL = auto()
    """They are in the journal before anybody gets them; their agent waits for it when it is far
    ahead."""


class _LeftOut(Enum):
    LEFT_OUT = auto()


LEFT_OUT: Final = _LeftOut.LEFT_OUT
"""The value that `collect` returns for a result that the reducer must not get."""


class Reduces(Protocol):
    """Reduces many results to one; `callboard.jobs` has the usual reducers.

    If `commutative`, values are added in any order, as they arrive. Otherwise they are added
    in the order of the plan, after the last one has arrived. `finish` must not change the
    accumulator: it also serves partial results.
    """

    @property
    def commutative(self) -> bool:
        """Whether values may be added in any order."""

    def initial(self) -> Any:
        """A new, empty accumulator."""

    def add(self, accumulator: Any, value: Any, key: int) -> Any:
        """The accumulator with one more value; `key` is the place of its sub-task in the plan."""

    def finish(self, accumulator: Any) -> Any:
        """The merged result. Raises `ResultRejected` if the values cannot be merged."""


@runtime_checkable
class ReducesPartials(Protocol):
    """A reducer that shows the partial results of running sub-tasks in partial results, too.

    It has two more methods than `Reduces`. The final result never depends on them: partial results
    of an attempt are forgotten at its end, and a resumed execution does not have them.
    """

    def fold_partial(self, before: Any, partial: Any) -> Any:
        """What is kept of one attempt's partial results; `before` is None at the first one."""

    def finish_partial(self, accumulator: Any, partials: Mapping[str, Any]) -> Any:
        """Like `finish`, with what is kept of each running sub-task, by its id."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """The context of an execution, for the job's `enrich`."""

    execution_id: str
    """The id of the execution."""
    job: str
    """The name of the job."""
    attributes: Mapping[str, Any]
    """The attributes that the caller submitted with the request."""
    started_at: float
    """The start of the execution, in seconds since 1970."""
    offers: Callable[[str], bool]
    """Whether any actor offers a contract now, by the contract's name."""


@dataclass(frozen=True, slots=True)
class Route:
    """The route of a request: the plan-maker that decomposes it, and the agents that serve it.

    `agents` maps the contract name of a sub-task to the pool that must run it. Any agent that
    offers the contract may run a sub-task that is not in it.
    """

    plan_maker: str | None = None
    """The name of one of `Job.plan_makers`; None for `Job.decompose`."""
    agents: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """For a contract of sub-tasks, the pool that must run them."""


Decompose = Callable[[RequestT], Plan | Iterable[SubTask]]
"""Decomposes a request into sub-tasks. A generator runs in slices, so it blocks no loop."""

Collect = Callable[[SubTask, Any], Any]
"""Picks the value for the reducer from a sub-task's result, or gives `LEFT_OUT`."""


def unchanged(value: ValueT) -> ValueT:
    """The value itself: the default of `resolve`, `transform` and `format`."""
    return value


def unchanged_in_context(request: ValueT, _context: JobContext) -> ValueT:
    """The request itself: the default of `enrich`."""
    return request


def ask_a_person(_sub_task: SubTask, _error: CallboardError) -> Decision:
    """`Decision.ASK`: the default of `in_doubt`."""
    return Decision.ASK


def straight(_request: Contract) -> Route:
    """The job's `decompose`, and any agents: the default of `route`."""
    return Route()


def one_sub_task(request: Contract) -> tuple[SubTask, ...]:
    """The whole request as one sub-task: the default of `decompose`."""
    return (SubTask("request", request),)


def nowhere(output: object) -> None:
    """Deliver to the caller only: the default of `deliver`."""


# No slots: in Python 3.11 a slotted frozen dataclass cannot be made as `Job[A, B](...)`.
@dataclass(frozen=True, kw_only=True)
class Job(Generic[RequestT, ResultT]):
    """One kind of execution: its parts in their order, then its options.

    An exception of a part ends the execution. A `CallboardError` reaches the caller as it is.
    Any other exception becomes `RequestRejected` (validate), `ResultRejected` (check),
    `OutputError` (deliver) or `ExecutionFailed`, with its text and traceback.

    Raises:
        SpecError: an option is out of its range.
    """

    name: str = "job"
    """Its name in the journal, in `callboard ls`, and in resumed drivers."""

    # --- the parts, in order ---------------------------------------------------------------
    validate: Sequence[Callable[[RequestT], None]] = ()
    """Checks of the request. All of them run, and a refusal (`RequestRejected`, `ValueError`)
    reports all problems together."""
    enrich: Callable[[RequestT, JobContext], RequestT] = unchanged_in_context
    """Adds to the request what the caller left out."""
    route: Callable[[RequestT], Route] = straight
    """Chooses the plan-maker and the agents for a request."""
    decompose: Decompose[RequestT] = one_sub_task
    """Makes the plan of a request."""
    plan_makers: Mapping[str, Decompose[RequestT]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Further plan-makers by name, for `route` to choose from."""
    expand: Callable[[SubTask, Any], Iterable[SubTask]] | None = None
    """Called with each result; gives further sub-tasks that follow from it."""
    collect: Collect | None = None
    """Picks what is reduced from a result; by default, the whole result."""
    in_doubt: Callable[[SubTask, CallboardError], Decision] = ask_a_person
    """Decides on a non-idempotent sub-task when an attempt of it may have run."""
    reducer: Reduces | None = None
    """Merges the results; by default, into a list in the order of the plan."""
    resolve: Callable[[Any], Any] = unchanged
    """Resolves contradictions in the merged result."""
    check: Sequence[Callable[[Any], None]] = ()
    """Checks of the merged result (`ResultRejected`, `ValueError`); all of them run."""
    transform: Callable[[Any], ResultT] = unchanged
    """Makes the caller's result of the merged result."""
    format: Callable[[ResultT], Any] = unchanged
    """Makes the output for `deliver` of the caller's result: bytes, or files by name."""
    deliver: Callable[[Any], None] = nowhere
    """Brings the output to its destination."""

    # --- the options -----------------------------------------------------------------------
    threads: frozenset[ExecutionPhase] = frozenset({ExecutionPhase.DELIVERING})
    """Phases whose parts run in a thread, because they compute or wait for a long time."""
    concurrency_max: int | None = None
    """The most sub-tasks that run at the same time; by default, as many as the agents take."""
    concurrency_max_by_kind: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """The same limit for one contract or pool, by its name."""
    on_failure: OnFailure = OnFailure.FAIL_FAST
    """What happens to the other sub-tasks when one fails for good."""
    timeout_s: float | None = None
    """The time limit of the whole execution, in seconds."""
    task_timeout_s: float | None = None
    """The time limit of each attempt of a sub-task without its own, in seconds."""
    task_retry: RetryPolicy | None = None
    """The retry policy of sub-tasks that have the default policy."""
    task_priority: int = 0
    """The priority of sub-tasks whose priority is 0."""
    partial_every: int = 1
    """A partial result is due after this many further results; 0 for none. Partial results
    come at most every 50 ms and take at most a twentieth of the time."""
    result_bytes_max: int = RESULT_BYTES_MAX
    """A larger result of a sub-task is not written into the journal; see `large_results`."""
    large_results: LargeResults = LargeResults.FAIL
    """What happens to a result above `result_bytes_max`."""
    stored_bytes_max: int = STORED_BYTES_MAX
    """A larger result is not stored as a blob either: its sub-task fails at once."""
    streams: Streams = Streams.LIVE
    """What happens to the partial results that its agents yield."""
    unserved_grace_s: float = UNSERVED_GRACE_S
    """How long a sub-task waits for an agent that offers its contract, in seconds."""

    def __post_init__(self) -> None:
        check_name("the name of a job is", self.name, field="name")
        limits = (self.concurrency_max, *self.concurrency_max_by_kind.values())
        wrong = [
            text
            for is_wrong, text in (
                (
                    any(limit is not None and limit < 1 for limit in limits),
                    "a limit of concurrency is below 1",
                ),
                (
                    self.timeout_s is not None and not 0 < self.timeout_s < math.inf,
                    "timeout_s is not over 0",
                ),
                (
                    self.task_timeout_s is not None and not 0 < self.task_timeout_s < math.inf,
                    "task_timeout_s is not over 0",
                ),
                (self.result_bytes_max < 0, "result_bytes_max is below 0"),
                (self.stored_bytes_max < 0, "stored_bytes_max is below 0"),
                (self.partial_every < 0, "partial_every is below 0"),
                (not self.unserved_grace_s >= 0, "unserved_grace_s is below 0"),
                (
                    ExecutionPhase.RUNNING in self.threads,
                    "threads holds the running phase, whose sub-tasks run on agents",
                ),
            )
            if is_wrong
        ]
        if wrong:
            raise SpecError(f"Job {self.name!r} is wrong: " + "; ".join(wrong) + ".")

    def plan_maker(self, name: str | None) -> Decompose[RequestT]:
        """The plan-maker that a route names. Raises `SpecError` when there is none."""
        if name is None:
            return self.decompose
        found = self.plan_makers.get(name)
        if found is None:
            raise SpecError(
                f"Job {self.name!r} has no plan-maker {name!r}.",
                advice="Its plan-makers are: "
                + (", ".join(sorted(self.plan_makers)) or "only decompose")
                + ".",
            )
        return found
