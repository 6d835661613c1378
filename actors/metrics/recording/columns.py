"""Columns of points on their way through a host: many points of many series."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from callboard.messages.core.errors import UsageError

from ..series import SeriesKey

__all__ = ["NO_POINTS", "PointColumns", "checked_columns", "merge_columns"]


@dataclass(frozen=True, slots=True)
class PointColumns:
    """Points of several series, a row each, in any order. All columns have the same length."""

    series: Sequence[SeriesKey]
    """The series; a row names its own by the place in here."""
    index: npt.NDArray[np.int32]
    """For each point the place of its series."""
    times_ns: npt.NDArray[np.int64]
    """For each point its event time."""
    values: npt.NDArray[np.float64]
    """For each point its value."""

    @property
    def points(self) -> int:
        """The number of points."""
        return len(self.index)

    def where(self, chosen: npt.NDArray[np.bool_]) -> "PointColumns":
        """The points that are chosen; the same object if all are."""
        if chosen.all():
            return self
        return PointColumns(
            self.series, self.index[chosen], self.times_ns[chosen], self.values[chosen]
        )

    @property
    def num_rows(self) -> int:
        """The number of points, as an Arrow table calls it: a batch of a pipeline may be both."""
        return len(self.index)

    def take(self, places: npt.NDArray[np.intp]) -> "PointColumns":
        """The points at these places, in their order."""
        return PointColumns(
            self.series, self.index[places], self.times_ns[places], self.values[places]
        )

    def part(self, begin: int, end: int) -> "PointColumns":
        """Some of the points, without a copy; the same object if these are all."""
        if begin == 0 and end >= self.points:
            return self
        return PointColumns(
            self.series, self.index[begin:end], self.times_ns[begin:end], self.values[begin:end]
        )

    def compact(self) -> "PointColumns":
        """The same points, without the series that have none."""
        found = np.bincount(self.index, minlength=len(self.series)) > 0
        if found.all():
            return self
        places = (np.cumsum(found) - 1).astype(np.int32)
        series = [self.series[place] for place in np.flatnonzero(found).tolist()]
        return replace(self, series=series, index=places[self.index])


NO_POINTS: Final = PointColumns(
    (), np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float64)
)


def merge_columns(parts: Sequence[PointColumns]) -> PointColumns:
    """The points of all parts; a series of several parts is in the result once."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return NO_POINTS
    places: dict[SeriesKey, int] = {}
    indices = []
    for part in parts:
        mapped = np.fromiter((places.setdefault(key, len(places)) for key in part.series), np.int32)
        indices.append(mapped[part.index] if part.points else part.index)
    return PointColumns(
        tuple(places),
        np.concatenate(indices),
        np.concatenate([part.times_ns for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def checked_columns(columns: PointColumns) -> PointColumns:
    """Columns of others in the types that they must have. Raises `UsageError`."""
    try:
        checked = PointColumns(
            tuple(columns.series),
            np.asarray(columns.index).astype(np.int32, casting="same_kind"),
            np.asarray(columns.times_ns).astype(np.int64, casting="same_kind"),
            np.asarray(columns.values).astype(np.float64, casting="safe"),
        )
        shapes = {checked.index.shape, checked.times_ns.shape, checked.values.shape}
        is_good = len(shapes) == 1 and len(shapes.pop()) == 1
        if is_good and checked.points:
            is_good = (
                0 <= int(checked.index.min()) <= int(checked.index.max()) < len(checked.series)
            )
    except (TypeError, ValueError, AttributeError) as error:
        raise _refused(repr(error)) from error
    if not is_good:
        raise _refused("they have other lengths, or name a series that is not there")
    return checked


def _refused(why: str) -> UsageError:
    return UsageError(
        f"columns of points are refused: {why}.",
        advice="Give index (int32), times_ns (int64) and values (float64) of the same length.",
    )
