"""What one side of a bench gives back, and the hash that proves it did the work.

Invariants: parameters are whole numbers and the name of a store, results are plain numbers
with their unit in the name, and the check is a SHA-256 over what the side really computed, so
that a side that answers fast and wrong cannot win.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Outcome", "Params", "canonical_json", "check_of", "check_of_each"]

Params: TypeAlias = Mapping[str, Any]
"""The parameters of one side: counts and sizes as whole numbers, and `store`, a name."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one run of one side, and the hash of its output.

    `results` maps a figure's name to its value, the unit in the name
    (`pipelined_per_s`, `round_trip_p50_ms`, `bytes_per_actor`).
    """

    results: Mapping[str, float]
    check: str
    notes: tuple[str, ...] = field(default=())


def canonical_json(value: object) -> bytes:
    """`value` as JSON that is the same bytes for equal values."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def check_of(value: object) -> str:
    """The SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def check_of_each(values: Iterable[object]) -> str:
    """The SHA-256 of all values' canonical JSON, in order, a line each.

    It takes an iterator, so that a million replies need not be held twice.
    """
    digest = hashlib.sha256()
    for value in values:
        digest.update(canonical_json(value))
        digest.update(b"\n")
    return digest.hexdigest()
