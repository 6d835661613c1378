"""The counts of a projector, as metrics of its host, labelled by the projection's name."""

from collections.abc import Mapping

from ...kernel.inspection.metric_sources import Name, Reading
from .figures import ProjectorState
from .projector import Projector

__all__ = ["reading_of"]


def reading_of(projector: Projector) -> Reading:
    """The projector's figures now; `runtime.telemetry.names` describes each metric."""
    now = projector.statistics()
    counts = {
        "events": now.events,
        "pages": now.pages,
        "failures": now.failures,
        "store_failures": now.store_failures,
        "skipped": now.skipped,
    }
    gauges = {
        "lag_positions": now.lag_positions,
        "lag_seconds": now.lag_s,
        "stopped": float(now.state is ProjectorState.FAILED),
    }
    return Reading(_named(counts, now.name), _named(gauges, now.name))


def _named(values: Mapping[str, float], projection: str) -> dict[Name, float]:
    return {Name(f"callboard_projection_{what}", projection): n for what, n in values.items()}
