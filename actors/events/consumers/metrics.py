"""The counts of a group of consumers, as metrics of its host, labelled by the group's name."""

from ...kernel.inspection.metric_sources import Name, Reading
from .group import ConsumerGroup

__all__ = ["reading_of"]


def reading_of(group: ConsumerGroup) -> Reading:
    """The group's figures now; `runtime.telemetry.names` describes each metric."""
    now = group.statistics()
    counts = {"acks": now.acks, "nacks": now.nacks, "parkings": now.parkings}
    gauges = {"lag_positions": now.lag_positions, "parked": now.parked}
    return Reading(_named(counts, group.name), _named(gauges, group.name))


def _named(values: dict[str, int], group: str) -> dict[Name, float]:
    return {Name(f"callboard_consumers_{what}", group): n for what, n in values.items()}
