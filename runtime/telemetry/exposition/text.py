"""The text of an endpoint, by prometheus-client: Prometheus' format or OpenMetrics."""

import gzip
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from callboard.actors.metrics.series import MetricKind

from .core import ShownMetric
from .figures import bounds_of

__all__ = ["OPENMETRICS", "Page", "Registry"]

TYPES: Final = {
    MetricKind.COUNTER: "counter",
    MetricKind.GAUGE: "gauge",
    MetricKind.OBSERVATION: "histogram",
}
GZIP_LEVEL: Final = 1
OPENMETRICS: Final = "application/openmetrics-text"
"""Its version 1.0.0."""


class Page(NamedTuple):
    """What a scraper gets."""

    body: bytes
    content_type: str
    encoding: str = ""


class Registry(Collector):
    """The one registry of a node. `read` gives the present metrics."""

    def __init__(self, read: Callable[[], Iterable[ShownMetric]]) -> None:
        self._read = read
        self._registry: Final = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics as prometheus-client has them."""
        for shown in self._read():
            yield _metric(shown)

    def page(self, accept: str, *, compressed: bool) -> Page:
        """The page in the format that a scraper accepts; Prometheus' text for any other."""
        # What a scraper sends is not handed on: a wrong version of it would raise.
        encode, content_type = choose_encoder(OPENMETRICS if OPENMETRICS in accept else "")
        body = encode(self._registry)
        if not compressed:
            return Page(body, content_type)
        return Page(gzip.compress(body, GZIP_LEVEL), content_type, "gzip")


def _metric(shown: ShownMetric) -> Metric:
    metric = Metric(shown.name, shown.text, TYPES[shown.kind])
    for labels, values, exemplars in shown.samples:
        tags = dict(labels)
        match shown.kind:
            case MetricKind.COUNTER:
                metric.samples.append(Sample(f"{shown.name}_total", tags, values[0]))
            case MetricKind.GAUGE:
                metric.samples.append(Sample(shown.name, tags, values[0]))
            case MetricKind.OBSERVATION:
                *counts, total = values
                bounds = (*map(floatToGoString, bounds_of(shown.name)), "+Inf")
                below = list(accumulate(counts))
                for bucket, (bound, count) in enumerate(zip(bounds, below, strict=True)):
                    found = exemplars.get(bucket)
                    example = found and Exemplar(
                        {"execution": found.execution, "step": found.step},
                        found.value,
                        found.time_s,
                    )
                    metric.samples.append(
                        Sample(f"{shown.name}_bucket", {**tags, "le": bound}, count, None, example)
                    )
                if total >= 0.0:  # OpenMetrics has both or none.
                    metric.samples.append(Sample(f"{shown.name}_count", tags, below[-1]))
                    metric.samples.append(Sample(f"{shown.name}_sum", tags, total))
    return metric
