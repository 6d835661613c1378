"""The event of journalled partial results: what agents have yielded in one turn.

| field | contents |
|---|---|
| at | when it was written, in seconds since 1970 |
| contracts | [name, version, fingerprint] of each contract in the rows |
| rows | [index, attempt, number, contract, body] of each partial result, then its buffers if any |

A resume does not need them: they tell what happened, and are no part of the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from callboard.messages.core.contract import ContractKey

from .encoding import Event, Kind, Packed

__all__ = ["Streamed", "StreamedPartial"]


class StreamedPartial(NamedTuple):
    """A partial result of an attempt."""

    task: int
    """The number of its sub-task."""
    attempt: int
    number: int
    """Its place among those of the attempt, from 1."""
    value: Packed


@dataclass(frozen=True, slots=True)
class Streamed(Event):
    """Attempts have yielded partial results."""

    kind: ClassVar[Kind] = Kind.STREAMED
    at: float
    partials: Sequence[StreamedPartial]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Streamed":
        """See `Event.of`."""
        contracts = [ContractKey(*key) for key in fields["contracts"]]
        return cls(fields["at"], [_read(row, contracts) for row in fields["rows"]])

    def fields(self) -> dict[str, Any]:
        """See `Event.fields`."""
        numbers: dict[ContractKey, int] = {}
        rows = []
        for task, attempt, number, value in self.partials:
            contract = numbers.setdefault(value.contract, len(numbers))
            row = [task, attempt, number, contract, value.body]
            rows.append([*row, list(value.buffers)] if value.buffers else row)
        return {"at": self.at, "contracts": [list(key) for key in numbers], "rows": rows}


def _read(row: Sequence[Any], contracts: Sequence[ContractKey]) -> StreamedPartial:
    task, attempt, number, contract, body, *buffers = row
    packed = Packed(contracts[contract], body, tuple(buffers[0]) if buffers else ())
    return StreamedPartial(task, attempt, number, packed)
