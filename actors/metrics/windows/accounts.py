"""Accounts of a shard: what became of each point that arrived, and what happened to sources.

Invariant: `arrived = counted + late + dropped + repeated`, after every batch.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..series import SeriesKey

__all__ = ["Accounts", "Applied", "DropReason", "LatePoints", "Refusal", "ShardWarning", "Warned"]


@enum.unique
class DropReason(enum.Enum):
    """Why a point is in no window, apart from being late."""

    MALFORMED = "malformed"
    """The columns of its batch have other types or lengths than they must have."""
    UNKNOWN_SERIES = "unknown_series"
    """Its source never defined its series, or defined it with a wrong name or wrong tags."""
    NOT_FINITE = "not_finite"
    """Its value is NaN or infinite."""
    FUTURE = "future"
    """Its time is too far ahead of the clock."""
    TOO_OLD = "too_old"
    """Its time is too far behind the clock."""
    WRONG_UNIT = "wrong_unit"
    """Its time is in seconds, milliseconds or microseconds, not in nanoseconds."""
    TOO_MANY_WINDOWS = "too_many_windows"
    """The shard has no room for one more open window of all its series."""


@enum.unique
class Refusal(enum.Enum):
    """Why a batch was not taken: nothing of it is counted, and the source sends it again."""

    DEFINITIONS_MISSING = "definitions_missing"
    """It builds on series that this shard does not know: the source repeats them."""
    WRONG_NUMBERS = "wrong_numbers"
    """The numbers of its points or series are negative or absurd: the source is wrong."""
    TOO_MANY_GAPS = "too_many_gaps"
    TOO_MANY_SOURCES = "too_many_sources"


@enum.unique
class Warned(enum.Enum):
    """What a shard warns of."""

    TAG_EXPLODES = "tag_explodes"
    """A tag of a metric has very many values."""
    TENANT_FULL = "tenant_full"
    """A tenant has as many series as it may have: further ones are counted as overflow."""
    SOURCE_STALLED = "source_stalled"
    """A source reports, but its watermark stands still: it is left out."""
    GAP_GIVEN_UP = "gap_given_up"
    """Points of a source never came: their windows are marked partial."""


class ShardWarning(NamedTuple):
    """An effect: something that a person may want to know."""

    kind: Warned
    subject: str
    """The tenant or the source."""
    text: str


class Applied(NamedTuple):
    """What became of one batch. The numbers of points add up to `arrived`."""

    arrived: int
    counted: int = 0
    repeated: int = 0
    late: int = 0
    dropped: Mapping[DropReason, int] = {}
    refusal: Refusal | None = None
    """Set for a batch that was not taken; then nothing arrived."""


@dataclass(slots=True)
class Accounts:
    """Totals of a shard since its first point. They are part of its state."""

    arrived: int = 0
    counted: int = 0
    repeated: int = 0
    late: int = 0
    dropped: dict[DropReason, int] = field(default_factory=dict)
    lost: int = 0
    """Points that never came: gaps that were given up. They have not arrived."""
    refused: int = 0
    """Batches that were not taken."""
    overflow_series: int = 0
    """Definitions of series that were counted in an overflow series."""
    watermarks_ignored: int = 0
    """Watermarks ahead of the clock, which count as the clock's time."""

    def add(self, applied: Applied) -> None:
        """Add one batch."""
        self.arrived += applied.arrived
        self.counted += applied.counted
        self.repeated += applied.repeated
        self.late += applied.late
        self.refused += applied.refusal is not None
        for reason, count in applied.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count


class LatePoints(NamedTuple):
    """Points of the side output: they came after their window had become final."""

    series: tuple[SeriesKey, ...]
    """The series of each point."""
    times_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    discarded: int
    """Points that had no room in the side output, since the first point of the shard."""
