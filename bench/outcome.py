"""The outcome of one side of a bench, and the hash that proves its work.

Invariants: parameters are whole numbers, and the names of a store and a cluster. Results are plain
numbers with their unit in the name. The check is a SHA-256 over the computed output, so that a fast
side with wrong answers cannot win.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Outcome", "Params", "canonical_json", "check_of", "check_of_each"]

Params: TypeAlias = Mapping[str, Any]
"""The parameters of one side: counts and sizes as whole numbers, and names: `store`, `address`."""


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
    """`value` as JSON, with the same bytes for equal values."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def check_of(value: object) -> str:
    """The SHA-256 of `value`'s canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def check_of_each(values: Iterable[object]) -> str:
    """The SHA-256 of the canonical JSON of all values, in order, one per line.

    It takes an iterator, so that a million replies are not held twice.
    """
    digest = hashlib.sha256()
    for value in values:
        digest.update(canonical_json(value))
        digest.update(b"\n")
    return digest.hexdigest()
