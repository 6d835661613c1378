"""A `MetricSink` that records: one reading of a host's figures is also points in its windows."""

from collections.abc import Callable
from typing import Final

from ...kernel.inspection.meter import Counter, Gauge, Meter

__all__ = ["MeterSink"]


class MeterSink:
    """Records what a publisher publishes, under the names that queries use elsewhere, too."""

    def __init__(
        self, meter: Meter, name_of: Callable[[str], str], label_of: Callable[[str], str]
    ) -> None:
        """`name_of` gives the name of a metric's samples, `label_of` the name of its label."""
        self._meter: Final = meter
        self._name_of: Final = name_of
        self._label_of: Final = label_of
        self._gauges: Final[dict[tuple[str, str], Gauge]] = {}
        self._counters: Final[dict[tuple[str, str], Counter]] = {}

    def gauge(self, name: str, value: float, label: str = "") -> None:
        """See `MetricSink`."""
        gauge = self._gauges.get((name, label))
        if gauge is None:
            gauge = self._meter.bind_gauge(self._name_of(name), **self._tags(name, label))
            self._gauges[name, label] = gauge
        gauge.set(value)

    def count(self, name: str, increase: float, label: str = "") -> None:
        """See `MetricSink`."""
        counter = self._counters.get((name, label))
        if counter is None:
            counter = self._meter.bind_counter(self._name_of(name), **self._tags(name, label))
            self._counters[name, label] = counter
        counter.add(increase)

    def _tags(self, name: str, label: str) -> dict[str, str]:
        own = self._label_of(name)
        return {own: label} if own and label else {}
