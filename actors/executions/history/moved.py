"""The event `moved`: the changes of one turn of the scheduler, in the journal.

Its rows, by field:

| field | row |
|---|---|
| done | [index, attempt, executor, began, took, contract, body, buffers if any, blob if any] |
| troubled | [index, attempt, executor, began, took, code, message, is the host's fault] |
| failed | [index, error as data; attempt, executor, began, took if one was under way] |
| doubtful | [index, attempt, code, message; executor, began, took unless its owner had ended] |

`executor` and `contract` are indices into the tables of the event. Times are microseconds:
`began` counts back from the turn, and `took` is the duration of the attempt. The table of
executors has the field name of the first release.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from callboard.messages.core.contract import ContractKey
from callboard.messages.storage.blobs import BlobRef

from .encoding import Event, Kind, Packed

__all__ = ["Done", "Doubtful", "Failed", "Moved", "MovedWriter", "Span", "Troubled"]

US: Final = 1e6
"""Microseconds of a second."""
PLAIN_FIELDS: Final = 7
"""The fields of a result without buffers and blob."""
MAKE: Final = tuple.__new__
"""Makes a named tuple at half the cost: there may be a hundred thousand of them."""


class Span(NamedTuple):
    """Where and when an attempt ran."""

    executor: str
    began_at: float
    """In seconds since 1970."""
    took_s: float


class Done(NamedTuple):
    """A successful attempt and its result."""

    task: int
    """The number of its sub-task."""
    attempt: int
    executor: str
    began_at: float
    took_s: float
    result: Packed


class Troubled(NamedTuple):
    """A failed attempt whose sub-task is retried."""

    task: int
    attempt: int
    span: Span
    code: str
    message: str
    is_loss: bool
    """Whether its host was lost."""


class Failed(NamedTuple):
    """A sub-task that failed for good."""

    task: int
    error: dict[str, Any]
    """As `CallboardError.to_data` gives it."""
    attempt: int = 0
    """The last attempt; 0 when none was under way."""
    span: Span | None = None


class Doubtful(NamedTuple):
    """An attempt that may have run, and must not run twice."""

    task: int
    attempt: int
    code: str
    message: str
    span: Span | None
    """None when its owner had ended."""


class Moved(Event):
    """The changes of attempts and sub-tasks in one turn."""

    __slots__ = ("_contracts", "_fields", "at", "cancelled", "executors", "skipped")
    kind: ClassVar[Kind] = Kind.MOVED

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields: Final = fields
        self._contracts: Final = [ContractKey(*key) for key in fields["contracts"]]
        self.at: Final[float] = fields["at"]
        """The time of the turn, in seconds since 1970."""
        self.executors: Final[list[str]] = fields["lanes"]
        """The executors that ran attempts."""
        self.cancelled: Final[list[int]] = fields["cancelled"]
        self.skipped: Final[list[int]] = fields["skipped"]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Moved":
        """See `Event.of`."""
        return cls(fields)

    def fields(self) -> Mapping[str, Any]:
        """See `Event.fields`."""
        return self._fields

    @property
    def done_count(self) -> int:
        """The number of sub-tasks that are done."""
        return len(self._fields["done"])

    def done(self) -> Iterator[Done]:
        """The results."""
        contracts, executors, at = self._contracts, self.executors, self.at
        for row in self._fields["done"]:
            if len(row) == PLAIN_FIELDS:
                index, attempt, executor, began, took, contract, body = row
                packed = MAKE(Packed, (contracts[contract], body, (), None))
            else:
                index, attempt, executor, began, took, contract, body, *parts = row
                packed = Packed.with_parts(contracts[contract], body, parts)
            yield MAKE(
                Done, (index, attempt, executors[executor], at - began / US, took / US, packed)
            )

    def blobs(self) -> Iterator[BlobRef]:
        """The blobs that hold results."""
        for one in self.done():
            if one.result.blob is not None:
                yield one.result.blob

    def troubled(self) -> Iterator[Troubled]:
        """The failed attempts whose sub-tasks are retried."""
        for index, attempt, executor, began, took, code, message, is_loss in self._fields[
            "troubled"
        ]:
            span = self._span(executor, began, took)
            yield Troubled(index, attempt, span, code, message, bool(is_loss))

    def failed(self) -> Iterator[Failed]:
        """The sub-tasks that failed for good."""
        for index, error, *last in self._fields["failed"]:
            if last:
                attempt, *times = last
                yield Failed(index, error, attempt, self._span(*times))
            else:
                yield Failed(index, error)

    def doubtful(self) -> Iterator[Doubtful]:
        """The attempts whose sub-tasks are in doubt now."""
        for index, attempt, code, message, *times in self._fields["doubtful"]:
            span = self._span(*times) if times else None
            yield Doubtful(index, attempt, code, message, span)

    def _span(self, executor: int, began: int, took: int) -> Span:
        return Span(self.executors[executor], self.at - began / US, took / US)


class MovedWriter:
    """Collects the changes of one turn. Attempts end with the turn, so only durations count."""

    def __init__(self) -> None:
        self._contracts: Final[dict[ContractKey, int]] = {}
        self._executors: Final[dict[str, int]] = {}
        self._done: Final[list[list[Any]]] = []
        self._troubled: Final[list[list[Any]]] = []
        self._failed: Final[list[list[Any]]] = []
        self._doubtful: Final[list[list[Any]]] = []
        self.cancelled: Final[list[int]] = []
        self.skipped: Final[list[int]] = []

    def __bool__(self) -> bool:
        return bool(
            self._done
            or self._troubled
            or self._failed
            or self.cancelled
            or self.skipped
            or self._doubtful
        )

    def done(self, index: int, attempt: int, executor: str, took_s: float, result: Packed) -> None:
        """See `Done`."""
        took = int(took_s * US)
        number = self._executors.setdefault(executor, len(self._executors))
        contract = self._contracts.setdefault(result.contract, len(self._contracts))
        row = [index, attempt, number, took, took, contract, result.body]
        if result.blob is not None:
            row += [[], list(result.blob)]
        elif result.buffers:
            row.append(list(result.buffers))
        self._done.append(row)

    def troubled(
        self,
        index: int,
        attempt: int,
        executor: str,
        took_s: float,
        *,
        code: str,
        message: str,
        is_loss: bool,
    ) -> None:
        """See `Troubled`."""
        row = [index, attempt, *self._times(executor, took_s), code, message, is_loss]
        self._troubled.append(row)

    def failed(self, index: int, error: Mapping[str, Any]) -> None:
        """See `Failed`; no attempt was under way."""
        self._failed.append([index, error])

    def failed_in(
        self, index: int, error: Mapping[str, Any], attempt: int, executor: str, took_s: float
    ) -> None:
        """See `Failed`."""
        self._failed.append([index, error, attempt, *self._times(executor, took_s)])

    def doubtful(
        self, index: int, attempt: int, code: str, message: str, span: tuple[str, float] | None
    ) -> None:
        """See `Doubtful`; `span` is the executor and the duration, if known."""
        times: Sequence[int] = () if span is None else self._times(*span)
        self._doubtful.append([index, attempt, code, message, *times])

    def _times(self, executor: str, took_s: float) -> tuple[int, int, int]:
        took = int(took_s * US)
        return self._executors.setdefault(executor, len(self._executors)), took, took

    def event(self, at: float) -> Moved:
        """The event of all changes, for a turn at the time `at`."""
        return Moved(
            {
                "at": at,
                "lanes": list(self._executors),
                "contracts": [list(key) for key in self._contracts],
                "done": self._done,
                "troubled": self._troubled,
                "failed": self._failed,
                "cancelled": self.cancelled,
                "skipped": self.skipped,
                "doubtful": self._doubtful,
            }
        )
