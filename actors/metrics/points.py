"""Points: one measurement, and columns of many, as they travel from a source to an aggregator.

Times are nanoseconds since 1970 in UTC, as whole numbers.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from callboard.messages.core.codec import Array
from callboard.messages.core.contract import Contract, Request

from .series import MetricKind, SeriesKey, series_key

__all__ = [
    "SOURCE_ENDED_NS",
    "AppendPoints",
    "MetricDataPoint",
    "MetricSource",
    "MetricTags",
    "PointBatch",
    "PointsAccepted",
    "SourceKind",
]

SOURCE_ENDED_NS: Final = 2**63 - 1
"""The watermark of a source that sends nothing more: it holds nothing back."""
OWN_TAGS: Final = ("service", "instance", "environment", "region")


@enum.unique
class SourceKind(enum.Enum):
    """Where points come from."""

    SERVICE = "service"
    AGENT = "agent"
    SYSTEM = "system"
    BUSINESS = "business"
    SCRAPED = "scraped"
    RECEIVED = "received"


class MetricSource(Contract, name="callboard.metric_source"):
    """A sender of points. Its points are numbered, so that none counts twice."""

    kind: SourceKind
    """Where its points come from."""
    name: str
    """Unique for each incarnation of a sender: its numbers begin at 0."""


@dataclass(frozen=True, slots=True)
class MetricTags:
    """The tags of a point: four that every system has, and others."""

    service: str = ""
    """The program, or the part of one."""
    instance: str = ""
    """The process or host."""
    environment: str = ""
    """Such as production or test."""
    region: str = ""
    """Where it runs."""
    other: Mapping[str, str] = field(default_factory=dict)
    """Further tags, by name."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """The names and values of those that are set."""
        for name in OWN_TAGS:
            value: str = getattr(self, name)
            if value:
                yield name, value
        yield from self.other.items()


@dataclass(frozen=True, slots=True)
class MetricDataPoint:
    """One measurement."""

    metric_name: str
    """The name of the metric."""
    value: float
    """What was measured."""
    time_ns: int
    """When it was measured."""
    tags: MetricTags
    """What it belongs to."""
    source: MetricSource
    """Who has sent it."""
    kind: MetricKind = MetricKind.OBSERVATION
    """What the value means."""

    def key(self) -> SeriesKey:
        """The series that it belongs to. Raises `UsageError`."""
        return series_key(self.kind, self.metric_name, dict(self.tags))


class PointBatch(Contract, name="callboard.point_batch"):
    """Columns of points from one source for one shard.

    The source numbers its points and its series for each shard, both from 0 on. A batch holds
    the points from `sequence` on, and defines the series from `first_series` on.
    """

    source: MetricSource
    """Who sends it."""
    sequence: int
    """The number of the first point."""
    first_series: int
    """The number of the first series in `new_series`."""
    new_series: tuple[SeriesKey, ...]
    """Series that the source has not yet seen accepted."""
    series: Array
    """For each point the number of its series (int32)."""
    times_ns: Array
    """For each point its event time (int64)."""
    values: Array
    """For each point its value (float64)."""
    watermark_ns: int
    """The source expects no further point before this time; an earlier one is out of order. 0 as
    long as it cannot say."""


class PointsAccepted(Contract, name="callboard.points_accepted"):
    """What an aggregator has stored of a source."""

    sequence: int
    """All points before this number are durable, or dropped with a reason and counted."""
    series: int
    """The series before this number are known; a source repeats the definitions from here on."""
    credit: int
    """The points that the source may send beyond `sequence`."""


class AppendPoints(Request[PointsAccepted], name="callboard.append_points"):
    """Add points to the windows of a shard; the answer comes when they are durable.

    A batch that was accepted before changes nothing. Points between the last accepted one and
    `sequence` may still come, in any order.
    """

    shard: int
    """The shard of all its series."""
    batch: PointBatch
    """The points."""
