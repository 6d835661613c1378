"""Metrics through Ray: on every node's metrics port and in Ray's dashboards.

Ray adds labels of its own (the node, the worker's process). Callboard's labels are the system and
the host's name, and one more for some metrics.
"""

from typing import Any, Final

from ray.util.metrics import Counter, Gauge

from ...telemetry.names import EXPOSITION, METRICS, NODE, Kind

__all__ = ["TAG_KEYS", "RayMetrics"]

TAG_KEYS: Final = ("system", "host")


class RayMetrics:
    """The `MetricSink` of one host."""

    def __init__(self, system: str, host: str) -> None:
        self._tags: Final = dict(zip(TAG_KEYS, (system, host), strict=True))
        self._metrics: Final[dict[str, Any]] = {
            name: (Gauge if metric.kind is Kind.GAUGE else Counter)(
                name,
                description=metric.text,
                tag_keys=(*TAG_KEYS, metric.label) if metric.label else TAG_KEYS,
            )
            for name, metric in METRICS.items()
            if name not in NODE and name not in EXPOSITION  # Ray has its own of each node.
        }

    def gauge(self, name: str, value: float, label: str = "") -> None:
        """See `MetricSink`."""
        self._metrics[name].set(value, tags=self._tags_of(name, label))

    def count(self, name: str, increase: float, label: str = "") -> None:
        """See `MetricSink`; Ray refuses an increase of 0."""
        if increase > 0.0:
            self._metrics[name].inc(increase, tags=self._tags_of(name, label))

    def _tags_of(self, name: str, label: str) -> dict[str, str]:
        own = METRICS[name].label
        return {**self._tags, own: label} if own else self._tags
