"""Operators between numbers and vectors, and between two vectors."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from .parser import COMPARISONS, SET_OPERATORS
from .syntax import Binary, refused
from .vectors import Flags, Floats, Tags, Vector, merged, shown, signature

__all__ = ["combine", "combine_numbers", "combine_with_number"]

ARITHMETIC: Final[Mapping[str, Callable[[Floats, Floats], Floats]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
}
COMPARE: Final[Mapping[str, Callable[[Floats, Floats], Flags]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
assert tuple(COMPARE) == COMPARISONS, "the parser knows the same comparisons"


def combine_numbers(operator: str, left: Floats, right: Floats) -> Floats:
    """An operator between two numbers, at each moment."""
    with np.errstate(all="ignore"):
        if operator in COMPARE:
            return COMPARE[operator](left, right).astype(np.float64)
        return ARITHMETIC[operator](left, right)


def combine_with_number(
    binary: Binary, vector: Vector, number: Floats, *, number_is_left: bool
) -> Vector:
    """An operator between each series and a number."""
    operator = binary.operator
    left, right = (number, vector.values) if number_is_left else (vector.values, number)
    if operator in COMPARE and not binary.gives_bool:
        with np.errstate(all="ignore"):
            holds = COMPARE[operator](left, right)
        return Vector(vector.tags, vector.values, vector.present & holds)
    values = combine_numbers(operator, left, right)
    return Vector(vector.tags, values, vector.present).unnamed(_refuser(binary))


def combine(binary: Binary, left: Vector, right: Vector) -> Vector:
    """An operator between the series of two vectors that belong together."""
    if binary.operator in SET_OPERATORS:
        return _combine_sets(binary, left, right)
    # Where the left side has nothing at all, the right side may be ambiguous.
    there = right.present & left.present.any(axis=0)
    places, others = _one_for_each(binary, Vector(right.tags, right.values, there))
    used = np.zeros(others.present.shape, bool)
    tags: list[Tags] = []
    values, present = np.full(left.values.shape, np.nan), np.zeros(left.values.shape, bool)
    filters = binary.operator in COMPARE and not binary.gives_bool
    for row, own in enumerate(left.tags):
        key = signature(own, binary.matching)
        # A filter keeps the name, unless the matching is by other tags alone.
        keeps_all = filters and not binary.matching.is_on
        kept = [tag for tag in own if tag[0] not in binary.matching.tags] if keeps_all else key
        tags.append(tuple(kept))
        place = places.get(key)
        if place is None:
            continue
        both = left.present[row] & others.present[place]
        result = combine_numbers(binary.operator, left.values[row], others.values[place])
        if filters:
            both &= result > 0.0
        if np.any(used[place] & both):
            raise refused(
                binary.place,
                f"several series on the left of {binary.operator} belong to {shown(key)}.",
                "Aggregate the left side, or match by more tags.",
            )
        used[place] |= both
        present[row], values[row] = both, left.values[row] if filters else result
    found = Vector(tuple(tags), values, present)
    full = np.flatnonzero(present.any(axis=1))
    return merged(found.rows(full), _refuser(binary))


def _one_for_each(binary: Binary, right: Vector) -> tuple[dict[Tags, int], Vector]:
    """The series on the right by what they are matched by."""
    keys = tuple(signature(tags, binary.matching) for tags in right.tags)

    def refuse(_: str) -> Exception:
        return refused(
            binary.place,
            f"several series on the right of {binary.operator} belong to one on the left.",
            "Aggregate the right side, or match by more tags.",
        )

    found = merged(Vector(keys, right.values, right.present), refuse)
    return {key: place for place, key in enumerate(found.tags)}, found


def _combine_sets(binary: Binary, left: Vector, right: Vector) -> Vector:
    if binary.operator == "or":
        known = _presence(binary, left)
        rest = right.present.copy()
        for row, tags in enumerate(right.tags):
            rest[row] &= ~known.get(signature(tags, binary.matching), np.zeros(left.moments, bool))
        both = Vector(
            left.tags + right.tags,
            np.concatenate((left.values, right.values)),
            np.concatenate((left.present, rest)),
        )
    else:
        known = _presence(binary, right)
        present = left.present.copy()
        for row, tags in enumerate(left.tags):
            there = known.get(signature(tags, binary.matching), np.zeros(left.moments, bool))
            present[row] &= there if binary.operator == "and" else ~there
        both = Vector(left.tags, left.values, present)
    full = np.flatnonzero(both.present.any(axis=1))
    return merged(both.rows(full), _refuser(binary))


def _presence(binary: Binary, vector: Vector) -> dict[Tags, Flags]:
    found: dict[Tags, Flags] = {}
    for row, tags in enumerate(vector.tags):
        key = signature(tags, binary.matching)
        found[key] = found.get(key, np.zeros(vector.moments, bool)) | vector.present[row]
    return found


def _refuser(binary: Binary) -> Callable[[str], Exception]:
    return lambda problem: refused(binary.place, problem, "Match or aggregate by more tags.")
