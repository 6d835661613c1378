"""What a host does with the points that its actors record: names, tags, limits and times."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import SpecError

from ..series import Matcher, MetricKind, series_key

__all__ = ["RecordingLimits", "RecordingOptions"]

MIB: Final = 1024 * 1024
SHARDS_MAX: Final = 1_024
BACKOFF: Final = Backoff(min_s=0.1, max_s=5.0)


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """The limits of one host's recording. Each drop that they cause is counted."""

    series_max: int = 10_000
    """Series of one host that are in use. A further one is recorded in the overflow series of its
    metric."""
    idle_flushes_max: int = 600
    """A series that got no point for so many flushes, ten minutes by default, takes no room any
    more: the limits are for series in use. It comes back with its next point."""
    series_of_metric_max: int = 2_000
    """The same for one metric, so that a tag that explodes takes no room from other metrics."""
    points_max: int = 1_000_000
    """Points that wait for a flush, some 20 MB; of more, the newest are dropped."""
    unsent_bytes_max: int = 64 * MIB
    """Bytes of one source that no aggregator has accepted; of more, the oldest are dropped,
    except for those that were sent already, because they may have been accepted."""
    batch_points_max: int = 65_536
    """Points in one message to an aggregator, some 1.3 MB."""
    batches_under_way_max: int = 4
    """Batches of one source that one shard gets before it has accepted the first of them."""
    refusals_max: int = 10
    """So often in a row a shard may fail with the same batch before the batch is dropped. A shard
    that cannot be reached does not fail."""


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """How the points of a system are recorded. A wrong value raises `SpecError`."""

    shards: int = 4
    """The number of shards, over which series are spread by a stable hash: the same on all hosts,
    and for as long as their windows are kept."""
    flush_s: float = 1.0
    """The interval of flushes in seconds; they begin at whole multiples of it."""
    watermark_s: float = 5.0
    """The interval in seconds at which a source without points tells that there are none."""
    timeout_s: float = 10.0
    """How many seconds a shard may take to accept a batch before it is sent again."""
    backoff: Backoff = BACKOFF
    """The pauses before a batch is sent again."""
    service: str = "callboard"
    """The tag `service` of each series that has none. The tag `instance` is the host's name."""
    environment: str = ""
    """The tag `environment` of each series that has none; empty for no such tag."""
    region: str = ""
    """The same for the tag `region`."""
    drop: tuple[tuple[Matcher, ...], ...] = ()
    """Series that fulfil all matchers of one of these are not recorded."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """New names of metrics, by their old ones."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """Factors by which the values of metrics are multiplied, by their old names."""
    limits: RecordingLimits = RecordingLimits()
    """How much a host keeps."""

    def __post_init__(self) -> None:
        if not 1 <= self.shards <= SHARDS_MAX:
            _refuse("shards", self.shards, f"from 1 to {SHARDS_MAX}")
        for name in ("flush_s", "watermark_s", "timeout_s"):
            if not 0.0 < getattr(self, name) <= 3_600.0:
                _refuse(name, getattr(self, name), "over 0 and at most 3,600")
        for name in ("service", "environment", "region"):
            series_key(MetricKind.GAUGE, "checked", {name: getattr(self, name)})
        for name in (*self.renames.values(), *self.renames):
            series_key(MetricKind.GAUGE, name)
        for name, factor in self.scales.items():
            if not 0.0 < factor < float("inf"):
                _refuse(f"scales[{name!r}]", factor, "a number over 0")


def _refuse(name: str, value: Any, wanted: str) -> None:
    raise SpecError(
        f"recording option {name} is {value!r}.", advice=f"It must be {wanted}.", field=name
    )
