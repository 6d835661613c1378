"""The news of an execution as bytes: its updates, and a snapshot of its state."""

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from callboard.actors.executions.execution import Execution
from callboard.actors.executions.record import ExecutionStatistics
from callboard.messages.core.errors import CallboardError, PayloadTooLarge, ResultRejected
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.jobs.updates import (
    ExecutionState,
    ExecutionUpdate,
    Finished,
    PartialResult,
    SubTaskPartial,
)

from ..values import Values

__all__ = ["PackedUpdates", "pack_snapshot", "pack_updates", "unpack_snapshot", "unpack_update"]

RESULT_BYTES_MAX: Final = 60 * 2**20
"""Less than the limit of a message, 64 MiB, which the other fields need little of."""


class PackedUpdates(NamedTuple):
    """Updates as bytes."""

    updates: tuple[bytes, ...]
    partial_cost_s: float
    """The time to pack the partial result."""


def pack_updates(values: Values, updates: Sequence[ExecutionUpdate]) -> PackedUpdates:
    """Pack updates. A partial result that cannot travel is left out; a result becomes an error."""
    packed: list[bytes] = []
    cost_s = 0.0
    for update in updates:
        if isinstance(update, PartialResult):
            began_s = time.perf_counter()
            partial = _packed_partial(values, update)
            cost_s = time.perf_counter() - began_s
            if partial is not None:
                packed.append(partial)
        elif isinstance(update, SubTaskPartial):
            partial = _packed_partial(values, update)
            if partial is not None:
                packed.append(partial)
        elif isinstance(update, Finished):
            packed.append(_packed_end(values, update))
        else:
            packed.append(values.pack((update, None)))
    return PackedUpdates(tuple(packed), cost_s)


def _packed_partial(values: Values, update: PartialResult | SubTaskPartial) -> bytes | None:
    try:
        data = values.pack((update.model_copy(update={"value": None}), update.value))
    except Exception:  # noqa: BLE001 - a user's type may raise anything; the result reports it
        return None
    return data if len(data) <= RESULT_BYTES_MAX else None


def _packed_end(values: Values, update: Finished) -> bytes:
    bare = update.model_copy(update={"result": None})
    refused: CallboardError
    try:
        data = values.pack((bare, update.result))
    except Exception as error:  # noqa: BLE001 - a user's type may raise anything
        refused = ResultRejected(
            f"the result of execution {update.execution_id}, a {type(update.result).__qualname__}, "
            f"cannot leave the detached system: {error!r}.",
            advice="The execution is complete: let `transform` return a contract or plain data.",
        )
    else:
        if len(data) <= RESULT_BYTES_MAX:
            return data
        refused = PayloadTooLarge(
            f"the result of execution {update.execution_id} has {len(data)} bytes, more than the "
            f"{RESULT_BYTES_MAX} that can leave a detached system.",
            advice="The execution is complete: let `deliver` or `transform` store the result.",
        )
    return values.pack((bare.model_copy(update={"error": refused.to_data()}), None))


def unpack_update(values: Values, data: bytes) -> ExecutionUpdate:
    """Unpack an update. Raises `ContractError` for a result whose contract is unknown here."""
    update: ExecutionUpdate
    update, value = values.unpack(data)
    match update:
        case Finished():
            if update.status is ExecutionStatus.COMPLETED and update.error is None:
                return update.model_copy(update={"result": value})
            return update
        case PartialResult() | SubTaskPartial():
            return update.model_copy(update={"value": value})
        case _:
            return update


def pack_snapshot(values: Values, execution: Execution[Any]) -> bytes:
    """Pack the state and the statistics of an execution."""
    return values.pack((execution.state(), execution.statistics()))


def unpack_snapshot(values: Values, data: bytes) -> tuple[ExecutionState, ExecutionStatistics]:
    """Unpack the state and the statistics."""
    state, statistics = values.unpack(data)
    return state, statistics
