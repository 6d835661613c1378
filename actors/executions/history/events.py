"""The events of an execution: the one place that reads and writes them.

They are in the stream `execution/<id>`. An event holds a change, never the whole state, so the
data of a step bound its size in the journal. One turn of the scheduler is one event, so a busy
turn costs one row of the log, not one per sub-task.

| kind | meaning | fields |
|---|---|---|
| submitted | a request was submitted | id, job, request, attributes, at, by, driver, keys |
| entered | the next phases began | phases: [name, at] |
| planned | the plan is made; its sub-tasks follow in `grown` | agents, plan_maker, sub_tasks |
| grown | sub-tasks were added | parent, contracts, policies, rows: see `grown.py` |
| began | non-idempotent attempts are about to run | at, rows: [index, attempt] |
| moved | the changes of attempts and sub-tasks in one turn | see `moved.py` |
| stepped | the status changed | from, to, at, trigger, metadata |
| resumed | another owner resumed it | by, at |
| lost | results that were stored as blobs are gone | rows: [index, attempt, why], by, at |
| decided | a person or a policy settled a step in doubt | index, decision, by, at, reason |
| forked | the first event of a fork | of, version, from, at, by, sub_tasks, shared, keys |
| streamed | attempts yielded partial results | see `streamed.py` |

Sub-tasks are numbered in the order in which they were added, over all `grown` events. A message
is packed as in a frame: the index of its contract in the event's own table, its body, and its
buffers if there are any. A large result is in a blob: the body in its row is empty, the list of
buffers is empty, and after them comes the reference, [digest, bytes].
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Self

from callboard.messages.core.contract import ContractKey
from callboard.messages.storage.errors import StoreDamaged, UnknownEvent

from .encoding import Event, Kind, Packed, pack, unpack
from .grown import Grown, GrownWriter
from .moved import Moved, MovedWriter
from .streamed import Streamed, StreamedPartial

__all__ = [
    "PREFIX",
    "Began",
    "Beginning",
    "Decided",
    "Entered",
    "Event",
    "Forked",
    "Grown",
    "GrownWriter",
    "Kind",
    "Lost",
    "LostResult",
    "Moved",
    "MovedWriter",
    "Owner",
    "Packed",
    "Phase",
    "Planned",
    "Resumed",
    "Stepped",
    "Streamed",
    "StreamedPartial",
    "Submitted",
    "pack",
    "read",
    "stream_of",
    "unpack",
]

PREFIX: Final = "execution/"


def stream_of(execution_id: str) -> str:
    """The stream of one execution."""
    return PREFIX + execution_id


class Phase(NamedTuple):
    """A phase of an execution, and when it began, in seconds since 1970."""

    name: str
    at: float


class Owner(NamedTuple):
    """A process that ran an execution, and since when, in seconds since 1970."""

    name: str
    at: float


class Beginning(NamedTuple):
    """An attempt of a non-idempotent sub-task that is about to run."""

    task: int
    attempt: int


class LostResult(NamedTuple):
    """A result that can no longer be read, and why."""

    task: int
    attempt: int
    why: str


class NamedFields(Event):
    """An event whose attributes are its fields, with their names and in their order."""

    __slots__: ClassVar[tuple[str, ...]] = ()  # type: ignore[misc]  # the names of the fields

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """See `Event.of`; unknown fields of a later release are ignored."""
        return cls(**{name: fields[name] for name in cls.__slots__ if name in fields})

    def fields(self) -> dict[str, Any]:
        """See `Event.fields`."""
        return {name: getattr(self, name) for name in self.__slots__}


NO_REQUEST: Final = Packed(ContractKey("", 0, 0), b"")


@dataclasses.dataclass(frozen=True, slots=True)
class Submitted(Event):
    """A request was submitted."""

    kind: ClassVar[Kind] = Kind.SUBMITTED
    job: str
    at: float
    by: str
    id: str = ""
    request: Packed = NO_REQUEST
    attributes: tuple[bytes, Sequence[bytes]] = (b"", ())
    """The encoded attributes of the caller: body and buffers."""
    driver: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The command that starts the driver again."""
    keys: int = 0
    """The form of its idempotency keys: see `step_keys.py`."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Submitted":
        """See `Event.of`."""
        given = {name: fields[name] for name in cls.__slots__ if name in fields}
        if "request" in given:
            name, version, fingerprint, body, buffers = given["request"]
            contract = ContractKey(name, version, fingerprint)
            given["request"] = Packed(contract, body, tuple(buffers))
        if "attributes" in given:
            body, buffers = given["attributes"]
            given["attributes"] = (body, buffers)
        return cls(**given)

    def fields(self) -> dict[str, Any]:
        """See `Event.fields`."""
        request, (body, buffers) = self.request, self.attributes
        return {
            "id": self.id,
            "job": self.job,
            "request": [*request.contract, request.body, list(request.buffers)],
            "attributes": [body, list(buffers)],
            "at": self.at,
            "by": self.by,
            "driver": self.driver,
            **_keys_of(self.keys),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Entered(Event):
    """The next phases have begun."""

    kind: ClassVar[Kind] = Kind.ENTERED
    phases: Sequence[Phase]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Entered":
        """See `Event.of`."""
        return cls([Phase(name, at) for name, at in fields["phases"]])

    def fields(self) -> dict[str, Any]:
        """See `Event.fields`."""
        return {"phases": self.phases}


@dataclasses.dataclass(frozen=True, slots=True)
class Planned(NamedFields):
    """The plan is made; its sub-tasks follow."""

    kind: ClassVar[Kind] = Kind.PLANNED
    agents: Mapping[str, str]
    """The pool of each contract that the route names."""
    plan_maker: str | None
    sub_tasks: int


@dataclasses.dataclass(frozen=True, slots=True)
class Began(Event):
    """Attempts that must not run twice are about to run."""

    kind: ClassVar[Kind] = Kind.BEGAN
    at: float
    attempts: Sequence[Beginning]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Began":
        """See `Event.of`."""
        rows = [Beginning(index, attempt) for index, attempt in fields["rows"]]
        return cls(fields["at"], rows)

    def fields(self) -> dict[str, Any]:
        """See `Event.fields`."""
        return {"at": self.at, "rows": self.attempts}


@dataclasses.dataclass(frozen=True, slots=True)
class Stepped(Event):
    """The status changed."""

    kind: ClassVar[Kind] = Kind.STEPPED
    from_status: str
    to: str
    at: float
    trigger: str
    metadata: Mapping[str, Any]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Stepped":
        """See `Event.of`."""
        return cls(*(fields[name] for name in ("from", "to", "at", "trigger", "metadata")))

    def fields(self) -> dict[str, Any]:
        """See `Event.fields`."""
        return {
            "from": self.from_status,
            "to": self.to,
            "at": self.at,
            "trigger": self.trigger,
            "metadata": self.metadata,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Resumed(NamedFields):
    """Another owner has resumed the execution."""

    kind: ClassVar[Kind] = Kind.RESUMED
    by: str
    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class Lost(Event):
    """Results that were stored as blobs are gone."""

    kind: ClassVar[Kind] = Kind.LOST
    results: Sequence[LostResult]
    by: str
    at: float

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Lost":
        """See `Event.of`."""
        results = [LostResult(index, attempt, why) for index, attempt, why in fields["rows"]]
        return cls(results, fields["by"], fields["at"])

    def fields(self) -> dict[str, Any]:
        """See `Event.fields`."""
        return {"rows": self.results, "by": self.by, "at": self.at}


@dataclasses.dataclass(frozen=True, slots=True)
class Decided(NamedFields):
    """A person or a policy settled a step in doubt."""

    kind: ClassVar[Kind] = Kind.DECIDED
    index: int
    decision: str
    by: str
    at: float
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Forked(Event):
    """The first event of a fork: an execution that begins with the results of another one."""

    kind: ClassVar[Kind] = Kind.FORKED
    of_id: str
    """The id of the origin."""
    version: int
    """The version of the origin at which the fork begins."""
    step: str
    """The sub-task that runs again, with all that depend on it."""
    at: float
    by: str
    sub_tasks: int = 0
    shared: int = 0
    keys: int = 0
    """The form of its idempotency keys: see `step_keys.py`."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Forked":
        """See `Event.of`."""
        return cls(
            fields["of"],
            fields["version"],
            fields["from"],
            fields["at"],
            fields["by"],
            fields.get("sub_tasks", 0),
            fields.get("shared", 0),
            fields.get("keys", 0),
        )

    def fields(self) -> dict[str, Any]:
        """See `Event.fields`."""
        return {
            "of": self.of_id,
            "version": self.version,
            "from": self.step,
            "at": self.at,
            "by": self.by,
            "sub_tasks": self.sub_tasks,
            "shared": self.shared,
            **_keys_of(self.keys),
        }


EVENTS: Final[Mapping[str, type[Event]]] = {
    event.kind: event
    for event in (
        Submitted, Entered, Planned, Grown, Began, Moved, Stepped, Resumed, Lost, Decided, Forked,
        Streamed,
    )
}  # fmt: skip


def _keys_of(form: int) -> dict[str, int]:
    # Left out for the first form: such an event is written as it was read.
    return {"keys": form} if form else {}


def read(kind: str, data: bytes) -> Event:
    """The event of this kind with these bytes. Raises `UnknownEvent`, `StoreDamaged`."""
    event = EVENTS.get(kind)
    if event is None:
        raise UnknownEvent(
            f"this release does not know events {kind!r}.",
            advice="Use the later release of Callboard that wrote them.",
        )
    try:
        return event.of(unpack(kind, data))
    except StoreDamaged:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise StoreDamaged(f"an event {kind} is malformed: {error!r}.") from error
