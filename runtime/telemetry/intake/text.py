"""Prometheus' text and OpenMetrics as samples, by the parsers of prometheus-client.

As in Prometheus, a page with one wrong line is refused as a whole. A page cannot take more time
and memory than its limits say.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import parser
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser

from callboard.actors.metrics.series import MetricKind
from callboard.messages.core.errors import UsageError

from .received import IntakeLimits, LeftOut, Received

__all__ = ["parse_text"]

OPENMETRICS: Final = "application/openmetrics-text"
COUNTED: Final = ("_total", "_bucket", "_count", "_sum")
"""The suffixes of samples that count, of counters, histograms and summaries."""
CREATED: Final = "_created"
SECOND_NS: Final = 1_000_000_000
LINES_BETWEEN_CHECKS: Final = 1_000


def parse_text(
    body: bytes,
    content_type: str,
    now_ns: int,
    *,
    labels: Mapping[str, str],
    limits: IntakeLimits,
    is_late: Callable[[], bool],
) -> Received:
    """The samples of a page. A sample without a time gets `now_ns`.

    `labels` are added to each; a label of the page with such a name becomes `exported_NAME`.
    Raises `UsageError` for a page that is not in the format, too large, or too slow to parse.
    """
    received = Received(limits)
    metrics: Callable[[Any], Iterable[Metric]] = (
        openmetrics_parser.text_fd_to_metric_families
        if content_type.partition(";")[0].strip() == OPENMETRICS
        else parser.text_fd_to_metric_families
    )
    if len(body) > limits.bytes_max:
        raise UsageError(
            f"a page has {len(body):,} bytes.", advice=f"At most {limits.bytes_max:,} are read."
        )
    try:
        for metric in metrics(_lines(body.decode("utf-8"), limits, is_late)):
            _take(metric, received, labels, now_ns)
    except UsageError:
        raise
    except Exception as error:
        # The parsers raise whatever a wrong line leads them to.
        raise UsageError(
            f"a page is not in its format ({content_type[:80] or 'text/plain'}): {error!r}.",
            advice="Look at the page; its content type has to name its format.",
        ) from error
    return received


def _lines(text: str, limits: IntakeLimits, is_late: Callable[[], bool]) -> Iterator[str]:
    begin, number = 0, 0
    while begin < len(text):
        end = text.find("\n", begin) + 1 or len(text)
        number += 1
        if end - begin > limits.line_characters_max:
            raise UsageError(
                f"line {number} of a page has {end - begin:,} characters.",
                advice=f"At most {limits.line_characters_max:,} are read.",
            )
        if number > LINES_OF_SAMPLES * limits.samples_max:
            raise UsageError(
                f"a page has more than {number - 1:,} lines.",
                advice=f"At most {limits.samples_max:,} samples are read.",
            )
        if number % LINES_BETWEEN_CHECKS == 0 and is_late():
            raise UsageError(
                f"a page took too long to read, at line {number}.",
                advice=f"It has {limits.timeout_s:g} s, to connect, to read and to parse.",
            )
        yield text[begin:end]
        begin = end


LINES_OF_SAMPLES: Final = 4
"""Lines of a page for each sample: with two of text and type, and a time of creation."""


def _take(metric: Metric, received: Received, labels: Mapping[str, str], now_ns: int) -> None:
    created = {
        _group(sample): _nanoseconds(sample.value)
        for sample in metric.samples
        if sample.name == metric.name + CREATED
        and metric.type in {"counter", "histogram", "summary"}
    }
    for sample in metric.samples:
        suffix = sample.name[len(metric.name) :]
        counts = metric.type in {"counter", "histogram", "summary"}
        if counts and suffix == CREATED:
            continue
        if sample.native_histogram is not None:
            received.leave_out(LeftOut.UNSUPPORTED, f"{sample.name} is a native histogram.")
            continue
        is_cumulative = counts and suffix in COUNTED
        time_ns = now_ns if sample.timestamp is None else _nanoseconds(float(sample.timestamp))
        received.add(
            MetricKind.COUNTER if is_cumulative else MetricKind.GAUGE,
            sample.name,
            _tags(sample.labels, labels),
            time_ns,
            float(sample.value),
            is_cumulative=is_cumulative,
            start_ns=created.get(_group(sample), 0),
        )


def _group(sample: Any) -> tuple[tuple[str, str], ...]:
    """The labels that the samples of one histogram or counter have in common."""
    return tuple(sorted((n, v) for n, v in sample.labels.items() if n not in {"le", "quantile"}))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * SECOND_NS) if math.isfinite(seconds) and abs(seconds) < 1e10 else -1


def _tags(found: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    tags = dict(labels)
    for name, value in found.items():
        free = name
        while free in tags:
            free = f"exported_{free}"
        tags[free] = value
    return tags
