"""A job: the parts that one kind of execution is made of, each named and replaceable.

The way is fixed, its parts are not:

    validate -> enrich -> route -> decompose -> run (expand, collect, reduce)
             -> resolve -> check -> transform -> format -> deliver

A part is a plain function; every one has a default that passes on what it got, so a job
states only what is special about it:

    job = Job[ReviewTree, Report](decompose=one_task_a_file, reducer=MergeFindings())

A `Job` is data. It is made once and may be submitted any number of times.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

from ..core.contract import Contract
from ..core.errors import CallboardError, SpecError
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
    "Route",
    "ask_a_person",
    "one_sub_task",
    "unchanged",
]

RequestT = TypeVar("RequestT", bound=Contract)
ResultT = TypeVar("ResultT")
ValueT = TypeVar("ValueT")

UNSERVED_GRACE_S: Final = 5.0
"""How long a sub-task waits for an agent that nobody offers: a pool may be starting."""

RESULT_BYTES_MAX: Final = 4 * 2**20
STORED_BYTES_MAX: Final = 2**30


class LargeResults(Enum):
    """What becomes of a result that is larger than `Job.result_bytes_max`."""

    FAIL = auto()
    """Its sub-task fails at once."""
    STORE = auto()
    """It is stored beside the journal, durably, and the journal keeps a reference."""


class _LeftOut(Enum):
    LEFT_OUT = auto()


LEFT_OUT: Final = _LeftOut.LEFT_OUT
"""What `collect` gives for a result that is not to be reduced."""


class Reduces(Protocol):
    """How results become one; `actors/aggregator/reducers.py` has the usual ones.

    Values may be added in any order when `commutative`; otherwise they are added in the
    order of the plan, after the last has arrived. `finish` must leave the accumulator as
    it is: it is also called for partial results.
    """

    @property
    def commutative(self) -> bool:
        """Whether values may be added in any order."""

    def initial(self) -> Any:
        """A new, empty accumulator."""

    def add(self, accumulator: Any, value: Any, key: int) -> Any:
        """Fold one value in; `key` is its sub-task's place in the plan."""

    def finish(self, accumulator: Any) -> Any:
        """The merged result. Raises `ResultRejected` if the values cannot be reduced."""


@dataclass(frozen=True, slots=True)
class JobContext:
    """What an execution knows besides its request."""

    execution_id: str
    job: str
    attributes: Mapping[str, Any]
    """What the caller gave along with the request."""
    started_at: float
    """Seconds since 1970."""
    offers: Callable[[str], bool]
    """Whether somebody offers a contract, by its name, now."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: which plan-maker takes it apart, and which agents serve it.

    `agents` maps the name of a sub-task's contract to the pool that must run it; what it
    does not name goes to whoever offers the contract.
    """

    plan_maker: str | None = None
    agents: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


Decompose = Callable[[RequestT], Plan | Iterable[SubTask]]
"""Takes a request apart. A generator is run in slices, so it blocks nobody."""

Collect = Callable[[SubTask, Any], Any]
"""Picks what is reduced out of a sub-task's result, or `LEFT_OUT`."""


def unchanged(value: ValueT) -> ValueT:
    """Pass it on as it is."""
    return value


def unchanged_in_context(request: ValueT, _context: JobContext) -> ValueT:
    """Pass it on as it is."""
    return request


def ask_a_person(_sub_task: SubTask, _error: CallboardError) -> Decision:
    """Nobody here can know."""
    return Decision.ASK


def straight(_request: Contract) -> Route:
    """The one plan-maker of the job, and whoever offers the contracts."""
    return Route()


def one_sub_task(request: Contract) -> tuple[SubTask, ...]:
    """The whole request as one sub-task."""
    return (SubTask("request", request),)


def nowhere(output: object) -> None:
    """The result goes to the caller only."""


# No slots: in Python 3.11 a slotted frozen dataclass cannot be made as `Job[A, B](...)`.
@dataclass(frozen=True, kw_only=True)
class Job(Generic[RequestT, ResultT]):
    """One kind of execution: its parts in the order of its way, then its options.

    What a part raises ends the execution. A `CallboardError` reaches the caller as it is;
    anything else as `RequestRejected` (validate), `ResultRejected` (check), `OutputError`
    (deliver) or `ExecutionFailed`, with its text and traceback.

    Raises:
        SpecError: an option is out of its range.
    """

    name: str = "job"

    # --- the parts, in order ---------------------------------------------------------------
    validate: Sequence[Callable[[RequestT], None]] = ()
    """All are asked, and all that refuse are told at once (`RequestRejected`, `ValueError`)."""
    enrich: Callable[[RequestT, JobContext], RequestT] = unchanged_in_context
    """Adds what the caller did not say."""
    route: Callable[[RequestT], Route] = straight
    decompose: Decompose[RequestT] = one_sub_task
    plan_makers: Mapping[str, Decompose[RequestT]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """More of them by name, for `route` to choose from."""
    expand: Callable[[SubTask, Any], Iterable[SubTask]] | None = None
    """Called with each result: what else must be done, now that this is known."""
    collect: Collect | None = None
    """By default, every result is reduced as it is."""
    in_doubt: Callable[[SubTask, CallboardError], Decision] = ask_a_person
    """What becomes of a non-idempotent sub-task of which an attempt may have run."""
    reducer: Reduces | None = None
    """By default, a list of the results in the order of the plan."""
    resolve: Callable[[Any], Any] = unchanged
    """Settles what contradicts itself in the merged result."""
    check: Sequence[Callable[[Any], None]] = ()
    """As `validate`, for the merged result (`ResultRejected`, `ValueError`)."""
    transform: Callable[[Any], ResultT] = unchanged
    """Gives what the caller gets."""
    format: Callable[[ResultT], Any] = unchanged
    """Gives what is delivered: bytes, files by name, whatever `deliver` takes."""
    deliver: Callable[[Any], None] = nowhere
    """Brings it where it goes."""

    # --- the options -----------------------------------------------------------------------
    threads: frozenset[ExecutionPhase] = frozenset({ExecutionPhase.DELIVERING})
    """Phases that run in a thread, because they compute or wait for long."""
    concurrency_max: int | None = None
    """Sub-tasks that run at once; by default, as many as the agents take."""
    concurrency_max_by_kind: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """The same for one contract or pool, by its name."""
    on_failure: OnFailure = OnFailure.FAIL_FAST
    timeout_s: float | None = None
    """For the whole execution."""
    task_timeout_s: float | None = None
    """For each attempt of a sub-task that names none."""
    task_retry: RetryPolicy | None = None
    """For each sub-task that has the default policy."""
    task_priority: int = 0
    """For each sub-task whose priority is 0."""
    partial_every: int = 1
    """A partial result after so many more results; 0 for none. However many there are, they
    come at most every 50 ms and take at most a twentieth of the time."""
    result_bytes_max: int = RESULT_BYTES_MAX
    """A larger result of a sub-task is not written into the journal; see `large_results`."""
    large_results: LargeResults = LargeResults.FAIL
    stored_bytes_max: int = STORED_BYTES_MAX
    """A larger result is not stored either: its sub-task fails at once."""
    unserved_grace_s: float = UNSERVED_GRACE_S
    """How long to wait for an agent that nobody offers."""

    def __post_init__(self) -> None:
        limits = (self.concurrency_max, *self.concurrency_max_by_kind.values())
        wrong = [
            text
            for is_wrong, text in (
                (any(limit is not None and limit < 1 for limit in limits), "a limit is below 1"),
                (self.timeout_s is not None and not self.timeout_s > 0, "timeout_s is not over 0"),
                (
                    self.task_timeout_s is not None and not self.task_timeout_s > 0,
                    "task_timeout_s is not over 0",
                ),
                (self.result_bytes_max < 0, "result_bytes_max is below 0"),
                (self.stored_bytes_max < 0, "stored_bytes_max is below 0"),
                (self.partial_every < 0, "partial_every is below 0"),
                (not self.unserved_grace_s >= 0, "unserved_grace_s is below 0"),
                (
                    ExecutionPhase.RUNNING in self.threads,
                    "sub-tasks run on agents: the running phase has no thread",
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
                advice="It has: " + (", ".join(sorted(self.plan_makers)) or "only decompose") + ".",
            )
        return found
