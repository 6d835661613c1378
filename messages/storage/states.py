"""The stored state of an agent's execution, and the event that announces its change.

`AgentExecutionState` has the fields of the data-flow document in Python spelling. It is the
durable form of `updates.ExecutionState`, which shows a running execution.

A stored state is a header and the packed fields. The header has fixed places, so that a cache
can compare two values by their first eight bytes without knowing what they are:

| bytes | what |
|---|---|
| 0 to 7 | the version of the state, big-endian: it grows with each change |
| 8 to 11 | the version of the contract |
| 12 to 19 | the fingerprint of the contract's schema |
| 20 to 35 | a number that identifies the write |

Contracts inside the declared fields are stored as their fields: the outer contract's
fingerprint covers their schemas too. Contracts inside `context` and other free fields
describe themselves, as in any message. Earlier releases stored times as texts.
"""

import struct
from typing import Any, Final, Self

import msgpack
from pydantic import AwareDatetime, Field

from ..core.codec import Codec
from ..core.contract import Build, Contract, ContractRegistry, check_depth, contract_key
from ..core.errors import CallboardError, InvalidMessage
from ..core.limits import DEFAULT_LIMITS, Limits
from ..jobs.execution import ExecutionStatus
from ..jobs.updates import (
    ExecutionMetrics,
    ExecutionPhase,
    ExecutionState,
    StateChanged,
    TaskDependency,
)
from .errors import StoreDamaged

__all__ = [
    "INTERMEDIATE_RESULTS_MAX",
    "WRITER_BYTES",
    "AgentExecutionState",
    "AgentStateChanged",
    "IntermediateResult",
    "StateCodec",
    "UnknownState",
    "decode_changes",
    "encode_changes",
    "version_of",
    "writer_of",
]

INTERMEDIATE_RESULTS_MAX: Final = 1_000
"""The most results in a state, which is written as a whole with each change."""

WRITER_BYTES: Final = 16
HEADER: Final = struct.Struct(f">QIQ{WRITER_BYTES}s")
CHANGES_FORMAT: Final = 1


class UnknownState(CallboardError):
    """No state is stored under this execution id."""

    code = "unknown_state"


class IntermediateResult(Contract, name="callboard.agent.intermediate_result"):
    """The result of a part of the task so far. Store a large value, and put a reference here."""

    task_id: str
    """The sub-task that it belongs to."""
    value: Any
    """The result: plain values or a contract."""
    timestamp: float
    """Seconds since 1970."""


class AgentExecutionState(Contract, name="callboard.agent.execution_state"):
    """The state of an agent's work on an execution, as it is stored and cached."""

    execution_id: str = Field(min_length=1)
    """The id of the execution."""
    agent_id: str
    """The agent that works, or the host that runs the execution."""
    task_id: str
    """The sub-task, or the job for the execution as a whole."""
    status: ExecutionStatus = ExecutionStatus.PENDING
    """The status now."""
    start_time: AwareDatetime
    """When the work began, with its time zone."""
    current_phase: ExecutionPhase = ExecutionPhase.VALIDATING
    """The phase now."""
    context: dict[str, Any] = Field(default_factory=dict)
    """The attributes that the caller submitted with the request."""
    intermediate_results: tuple[IntermediateResult, ...] = Field(
        default=(), max_length=INTERMEDIATE_RESULTS_MAX
    )
    """Results of parts of the task so far."""
    metrics: ExecutionMetrics | None = None
    """The figures of the execution, if it has some."""
    dependencies: tuple[TaskDependency, ...] = ()
    """Sub-tasks that need others and have not ended."""
    end_time: AwareDatetime | None = None
    """When the work ended; None before."""
    transitions: tuple[StateChanged, ...] = ()
    """All transitions of the status, the first one first."""
    error: dict[str, Any] | None = None
    """The error of a failed execution, as `CallboardError.to_data` gives it."""
    journal_version: int = Field(default=0, ge=0)
    """The version of its execution's stream that it shows; 0 when no journal feeds it."""
    version: int = Field(default=0, ge=0, lt=2**53)
    """The number of changes; 0 when it was never stored. Each change raises it by 1."""

    @classmethod
    def of(cls, record: ExecutionState, *, version: int = 0) -> Self:
        """The stored form of an execution's state.

        `ExecutionState` only counts results, so `intermediate_results` is empty here.
        """
        return cls(
            execution_id=record.execution_id,
            agent_id=record.agent_id,
            task_id=record.job,
            status=record.status,
            start_time=record.start_time,
            current_phase=record.current_phase,
            context=record.context,
            metrics=record.metrics,
            dependencies=record.dependencies,
            end_time=record.end_time,
            transitions=record.transitions,
            error=record.error,
            version=version,
        )


class AgentStateChanged(Contract, name="agent.state.changed"):
    """A state was stored: read it for the details."""

    execution_id: str
    """The id of the execution."""
    status: ExecutionStatus
    """The status that was stored."""
    timestamp: float
    """Seconds since 1970, by the clock of the process that stored it."""
    version: int
    """The version of the state. A reader that has seen a higher one may ignore the event."""


def version_of(data: bytes) -> int:
    """The version of a stored state, without decoding it."""
    return int.from_bytes(data[:8], "big")


def writer_of(data: bytes) -> bytes:
    """The number that identifies the write of a stored state."""
    return data[HEADER.size - WRITER_BYTES : HEADER.size]


class StateCodec:
    """Encodes states to bytes and decodes them; for one thread.

    A state of an older version of the contract goes through the contract's upcasters first.
    `contract` may be a subclass with fields of its own.
    """

    def __init__(
        self,
        contract: type[AgentExecutionState] = AgentExecutionState,
        *,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._contracts = ContractRegistry(limits)
        self._info = self._contracts.learn(contract)
        self._build = Build(self._info, is_lax=True)
        self._codec = Codec(self._contracts, limits)
        self._depth_max = limits.depth_max

    def encode(self, state: AgentExecutionState, writer: bytes) -> bytes:
        """The bytes of a state for a store. `writer` has `WRITER_BYTES` bytes.

        Raises `InvalidMessage` for a value without an encoding (such as an array) and
        `PayloadTooLarge` for a state over the limits.
        """
        key = self._info.key
        if type(state) is not self._info.cls:
            state = self._same_contract(state)
        fields = _flat(state)
        # Here and not in `decode`: states are read far more often than written.
        check_depth(_free_parts(state), self._depth_max)
        # This object only carries the fields to the codec, so they are not validated.
        flat = type(state).__new__(type(state))
        for name, value in (("__dict__", fields), ("__pydantic_extra__", None)):
            object.__setattr__(flat, name, value)
        body, buffers = self._codec.encode(flat)
        if buffers:
            raise InvalidMessage(
                f"the state of {state.execution_id} holds an array.",
                advice="Put it into a store, and keep its reference in the state.",
                contract=key.name,
            )
        return HEADER.pack(state.version, key.version, key.fingerprint, writer) + body

    def _same_contract(self, state: AgentExecutionState) -> AgentExecutionState:
        if contract_key(type(state)) == self._info.key:
            return state
        raise InvalidMessage(
            f"the state of {state.execution_id} is a {contract_key(type(state))}, "
            f"but this codec is for {self._info.key}.",
            advice="Make the codec with the contract of the states that you store.",
        )

    def decode(self, data: bytes) -> AgentExecutionState:
        """The state in these bytes.

        Raises `StoreDamaged` for bytes that are no state, and `VersionMismatch` for a newer
        version, or an older one without upcasters.
        """
        if len(data) < HEADER.size:
            raise _damaged(data, "it is shorter than its header")
        version, contract_version, fingerprint, _ = HEADER.unpack_from(data)
        key = self._info.key
        if contract_version == key.version and fingerprint == key.fingerprint:
            build = self._build
        else:
            build = self._contracts.resolve(key.name, contract_version, fingerprint)
        try:
            state = self._codec.decode(data[HEADER.size :], build)
        except InvalidMessage as error:
            raise _damaged(data, error.message) from error
        assert isinstance(state, AgentExecutionState)
        if state.version != version:
            raise _damaged(data, f"its header says version {version}, its fields {state.version}")
        return state


def _flat(state: AgentExecutionState) -> dict[str, Any]:
    """The fields, with declared contracts as their fields."""
    fields = dict(state.__dict__)
    if state.metrics is not None:
        fields["metrics"] = state.metrics.__dict__
    for name in ("intermediate_results", "dependencies", "transitions"):
        fields[name] = tuple([part.__dict__ for part in fields[name]])
    return fields


def _free_parts(state: AgentExecutionState) -> list[Any]:
    """The parts of a state whose depth no schema bounds."""
    declared = AgentExecutionState.model_fields
    return [
        state.context,
        state.error,
        [result.value for result in state.intermediate_results],
        [step.metadata for step in state.transitions],
        [value for name, value in state.__dict__.items() if name not in declared],
    ]


def _damaged(data: bytes, why: str) -> StoreDamaged:
    return StoreDamaged(
        f"a stored state of {len(data)} bytes does not decode: {why}.",
        advice="Restore it from a backup, or delete it with `forget`: a running execution stores "
        "it again.",
    )


def encode_changes(changes: list[AgentStateChanged]) -> bytes:
    """Changes whose notification is pending, as one value of a store."""
    rows = [
        (change.execution_id, change.status, change.timestamp, change.version) for change in changes
    ]
    packed: bytes = msgpack.packb((CHANGES_FORMAT, rows))
    return packed


def decode_changes(data: bytes) -> list[AgentStateChanged]:
    """The changes that `encode_changes` encoded. Raises `StoreDamaged`."""
    try:
        form, rows = msgpack.unpackb(data)
        assert form == CHANGES_FORMAT, f"its format is {form!r}"
        return [
            AgentStateChanged(execution_id=name, status=status, timestamp=at, version=version)
            for name, status, at, version in rows
        ]
    except (AssertionError, ValueError, TypeError, msgpack.UnpackException) as error:
        raise StoreDamaged(
            f"the list of pending notifications does not decode: {error}.",
            advice="Delete its row, and let subscribers read all states again.",
        ) from error
