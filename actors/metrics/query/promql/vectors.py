"""The value of an expression at some moments: a row for each series, a column for each moment."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .syntax import Matching

__all__ = [
    "NAME",
    "Flags",
    "Floats",
    "Tags",
    "Vector",
    "merged",
    "named_without",
    "shown",
    "signature",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Tags: TypeAlias = tuple[tuple[str, str], ...]

NAME: Final = "__name__"


@dataclass(frozen=True, slots=True)
class Vector:
    """Series with values at some moments."""

    tags: tuple[Tags, ...]
    """Of each series its tags, sorted, with `__name__` where it has a name."""
    values: Floats
    """By series and moment."""
    present: Flags
    """Where there is a value; it may be NaN."""

    @staticmethod
    def empty(moments: int) -> "Vector":
        """No series."""
        return Vector((), np.zeros((0, moments)), np.zeros((0, moments), bool))

    @property
    def moments(self) -> int:
        """The number of moments."""
        return int(self.values.shape[1])

    def rows(self, chosen: Sequence[int] | npt.NDArray[Any]) -> "Vector":
        """Some of its series, in this order."""
        places = np.asarray(chosen, np.int64)
        tags = tuple(self.tags[place] for place in places.tolist())
        return Vector(tags, self.values[places], self.present[places])

    def unnamed(self, refuse: Callable[[str], Exception]) -> "Vector":
        """Without names, as the result of a computation has none."""
        tags = tuple(named_without(tags) for tags in self.tags)
        return merged(Vector(tags, self.values, self.present), refuse)


def named_without(tags: Tags) -> Tags:
    """The tags without the metric's name."""
    return tuple(tag for tag in tags if tag[0] != NAME)


def signature(tags: Tags, matching: Matching) -> Tags:
    """The tags by which series belong together: `on` these, or all but these and the name."""
    if matching.is_on:
        return tuple(tag for tag in tags if tag[0] in matching.tags)
    return tuple(tag for tag in tags if tag[0] not in matching.tags and tag[0] != NAME)


def merged(vector: Vector, refuse: Callable[[str], Exception]) -> Vector:
    """The same with each set of tags in one row.

    Raises what `refuse` makes of a problem when two series with the same tags have a value at the
    same moment.
    """
    if len(set(vector.tags)) == len(vector.tags):
        return vector
    places: dict[Tags, int] = {}
    owners = [places.setdefault(tags, len(places)) for tags in vector.tags]
    values = np.full((len(places), vector.moments), np.nan)
    present = np.zeros(values.shape, bool)
    for row, owner in enumerate(owners):
        here = vector.present[row]
        if np.any(present[owner] & here):
            raise refuse(f"two series with the tags {shown(vector.tags[row])} are in the result.")
        values[owner] = np.where(here, vector.values[row], values[owner])
        present[owner] |= here
    return Vector(tuple(places), values, present)


def shown(tags: Iterable[tuple[str, str]]) -> str:
    """Tags for an error."""
    text = ", ".join(f"{name}={value!r}" for name, value in tags)
    return f"{{{text if len(text) <= 120 else text[:117] + '...'}}}"
