"""Metrics as Ray's own: they are on every node's metrics port and in Ray's dashboards.

Ray adds labels of its own (the node, the worker's process); ours are the system and the
host's name.
"""

from typing import Any, Final

from ray.util.metrics import Counter, Gauge

from .metrics import METRICS, Kind

__all__ = ["TAG_KEYS", "RayMetrics"]

TAG_KEYS: Final = ("system", "host")


class RayMetrics:
    """The `MetricSink` of one host."""

    def __init__(self, system: str, host: str) -> None:
        self._tags: Final = dict(zip(TAG_KEYS, (system, host), strict=True))
        self._metrics: Final[dict[str, Any]] = {
            name: (Gauge if metric.kind is Kind.GAUGE else Counter)(
                name, description=metric.text, tag_keys=TAG_KEYS
            )
            for name, metric in METRICS.items()
        }

    def gauge(self, name: str, value: float) -> None:
        """See `MetricSink`."""
        self._metrics[name].set(value, tags=self._tags)

    def count(self, name: str, increase: float) -> None:
        """See `MetricSink`; Ray refuses to count 0."""
        if increase > 0.0:
            self._metrics[name].inc(increase, tags=self._tags)
