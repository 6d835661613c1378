"""Metrics of OpenTelemetry's protocol (OTLP) as points, from the bytes of one request.

Needs the extra `otlp`. The names are those that Prometheus gives such metrics: the unit and, for
counters, `_total` are appended, and characters that Prometheus forbids become underscores.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from callboard.actors.metrics.recording.columns import PointColumns, merge_columns
from callboard.actors.metrics.recording.resets import CounterResets
from callboard.actors.metrics.series import MetricKind, SeriesKey, series_key
from callboard.messages.core.errors import UsageError

from .received import IntakeLimits, LeftOut, Received

__all__ = ["OtlpDecoder", "OtlpReceived"]

RESOURCE_TAGS: Final = {
    "service.name": "service",
    "service.instance.id": "instance",
    "deployment.environment.name": "environment",
    "deployment.environment": "environment",
    "cloud.region": "region",
}
"""The attributes of a resource that become tags of its points; others do not."""
UNITS: Final = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "%": "percent",
    "V": "volts",
    "A": "amperes",
    "W": "watts",
    "J": "joules",
    "Cel": "celsius",
    "Hz": "hertz",
}
DELTA: Final = 1
CUMULATIVE: Final = 2
NO_VALUE_FLAG: Final = 1
MEASUREMENTS_MAX: Final = 1_000_000
"""Measurements that the exponential histograms of one request may become."""
BUCKETS_MAX: Final = 2_048
"""Buckets of one histogram."""
SCALE_MIN: Final = 5
"""The least scale of an exponential histogram whose buckets are narrow enough: 1.1 % to their
middle. Coarser ones are kept by their counts and sums only."""
SCALE_MAX: Final = 20
REQUEST_TEXT_MAX: Final = 500


class OtlpReceived(NamedTuple):
    """What one request has brought."""

    columns: PointColumns
    """The points."""
    rejected: int
    """Its data points that are not in `columns` by its sender's fault."""
    problem: str
    """Why the first of these is not, for the sender."""
    answer: bytes
    """The body of the answer: an `ExportMetricsServiceResponse`."""


@dataclass(slots=True)
class _Points:
    """One metric of a request."""

    received: Received
    name: str
    tags: Mapping[str, str]
    """Of its resource."""


class OtlpDecoder:
    """Decodes requests of one sender after another; it remembers their cumulative counters."""

    def __init__(
        self, resets: CounterResets | None = None, limits: IntakeLimits | None = None
    ) -> None:
        try:
            from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
        except ImportError as error:
            raise UsageError(
                "metrics by OTLP need a package that is not installed.",
                advice="Install callboard[otlp].",
            ) from error
        self._messages: Any = metrics_service_pb2
        self._resets: Final = resets or CounterResets()
        self._limits: Final = limits or IntakeLimits()

    def decode(self, body: bytes, source: str) -> OtlpReceived:
        """The points of a request, which is one `ExportMetricsServiceRequest` in Protobuf.

        `source` names the sender. Raises `UsageError` for other bytes, and for too many.
        """
        if len(body) > self._limits.bytes_max:
            raise UsageError(
                f"a request has {len(body):,} bytes.",
                advice=f"Send at most {self._limits.bytes_max:,} at once.",
            )
        try:
            request = self._messages.ExportMetricsServiceRequest.FromString(body)
        except Exception as error:  # Protobuf's own error class differs between its releases.
            raise UsageError(
                f"these bytes are no metrics of OTLP: {error}.",
                advice="Send an ExportMetricsServiceRequest, encoded by Protobuf.",
            ) from error
        received, measured = Received(self._limits), _Measured()
        for resource in request.resource_metrics:
            tags = _resource_tags(resource.resource.attributes)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    _take(metric, tags, received, measured)
        columns = merge_columns([received.columns(source, self._resets), measured.columns()])
        rejected = sum(
            count for why, count in received.left_out.items() if why is not LeftOut.NO_INCREASE
        )
        return OtlpReceived(
            columns, rejected, received.first_problem, self._answer(rejected, received)
        )

    def _answer(self, rejected: int, received: Received) -> bytes:
        response = self._messages.ExportMetricsServiceResponse()
        if rejected:
            response.partial_success.rejected_data_points = rejected
            response.partial_success.error_message = received.first_problem[:REQUEST_TEXT_MAX]
        data: bytes = response.SerializeToString()
        return data


def _take(metric: Any, tags: Mapping[str, str], received: Received, measured: "_Measured") -> None:
    match metric.WhichOneof("data"):
        case "gauge":
            points = _Points(received, _name(metric, is_counter=False), tags)
            for point in metric.gauge.data_points:
                _number(points, point, MetricKind.GAUGE, is_cumulative=False)
        case "sum":
            _take_sum(metric, tags, received)
        case "histogram":
            points = _Points(received, _name(metric, is_counter=False), tags)
            is_cumulative = metric.histogram.aggregation_temporality == CUMULATIVE
            for point in metric.histogram.data_points:
                _histogram(points, point, is_cumulative=is_cumulative)
        case "exponential_histogram":
            points = _Points(received, _name(metric, is_counter=False), tags)
            is_delta = metric.exponential_histogram.aggregation_temporality == DELTA
            for point in metric.exponential_histogram.data_points:
                _exponential(points, point, measured, is_delta=is_delta)
        case "summary":
            points = _Points(received, _name(metric, is_counter=False), tags)
            for point in metric.summary.data_points:
                _summary(points, point)
        case _:
            received.leave_out(LeftOut.UNSUPPORTED, f"{metric.name[:80]!r} has no data.", 0)


def _take_sum(metric: Any, tags: Mapping[str, str], received: Received) -> None:
    temporality, is_monotonic = metric.sum.aggregation_temporality, metric.sum.is_monotonic
    if not is_monotonic and temporality == DELTA:
        received.leave_out(
            LeftOut.UNSUPPORTED,
            f"{metric.name[:80]!r} is a sum of changes up and down: send it as cumulative.",
            len(metric.sum.data_points),
        )
        return
    points = _Points(received, _name(metric, is_counter=is_monotonic), tags)
    kind = MetricKind.COUNTER if is_monotonic else MetricKind.GAUGE
    for point in metric.sum.data_points:
        is_cumulative = is_monotonic and temporality != DELTA
        _number(points, point, kind, is_cumulative=is_cumulative)


def _number(points: _Points, point: Any, kind: MetricKind, *, is_cumulative: bool) -> None:
    of = point.WhichOneof("value")
    if of is None or point.flags & NO_VALUE_FLAG:
        points.received.leave_out(LeftOut.NO_VALUE, f"a point of {points.name} has no value.")
        return
    value = float(point.as_double if of == "as_double" else point.as_int)
    if not math.isfinite(value) or (kind is MetricKind.COUNTER and value < 0.0):
        points.received.leave_out(LeftOut.NO_VALUE, f"a point of {points.name} is {value}.")
        return
    points.received.add(
        kind,
        points.name,
        _tags(points, point),
        point.time_unix_nano,
        value,
        is_cumulative=is_cumulative,
        start_ns=point.start_time_unix_nano,
    )


def _histogram(points: _Points, point: Any, *, is_cumulative: bool) -> None:
    bounds, counts = list(point.explicit_bounds), list(point.bucket_counts)
    if (counts and len(counts) != len(bounds) + 1) or len(counts) > BUCKETS_MAX:
        points.received.leave_out(
            LeftOut.INVALID,
            f"{points.name} has {len(counts)} counts for {len(bounds)} bounds.",
        )
        return
    tags, below = _tags(points, point), 0
    for bound, count in zip((*bounds, math.inf), counts, strict=False):
        below += count
        le = "+Inf" if bound == math.inf else repr(float(bound))
        _count(points, point, "_bucket", {**tags, "le": le}, below, is_cumulative)
    _count(points, point, "_count", tags, point.count, is_cumulative)
    if point.HasField("sum") and point.sum >= 0.0:
        _count(points, point, "_sum", tags, point.sum, is_cumulative)


def _summary(points: _Points, point: Any) -> None:
    tags = _tags(points, point)
    _count(points, point, "_count", tags, point.count, is_cumulative=True)
    if point.sum >= 0.0:
        _count(points, point, "_sum", tags, point.sum, is_cumulative=True)
    for each in point.quantile_values:
        if math.isfinite(each.value):
            quantile = {**tags, "quantile": repr(float(each.quantile))}
            points.received.add(
                MetricKind.GAUGE, points.name, quantile, point.time_unix_nano, each.value
            )


def _count(
    points: _Points,
    point: Any,
    suffix: str,
    tags: Mapping[str, str],
    value: float,
    is_cumulative: bool,  # noqa: FBT001 - always by its place
) -> None:
    points.received.add(
        MetricKind.COUNTER,
        points.name + suffix,
        tags,
        point.time_unix_nano,
        float(value),
        is_cumulative=is_cumulative,
        start_ns=point.start_time_unix_nano,
    )


# --- exponential histograms -------------------------------------------------------------------


class _Measured:
    """Measurements of several series."""

    def __init__(self) -> None:
        self._parts: list[tuple[SeriesKey, int, npt.NDArray[np.float64]]] = []
        self.room = MEASUREMENTS_MAX

    def add(self, key: SeriesKey, time_ns: int, values: npt.NDArray[np.float64]) -> None:
        """Add measurements of one series."""
        self._parts.append((key, time_ns, values))
        self.room -= len(values)

    def columns(self) -> PointColumns:
        """All of them."""
        sizes = [len(values) for _, _, values in self._parts]
        index = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        times = np.repeat(np.array([time_ns for _, time_ns, _ in self._parts], np.int64), sizes)
        values = [values for _, _, values in self._parts]
        return PointColumns(
            tuple(key for key, _, _ in self._parts),
            index,
            times,
            np.concatenate(values) if values else np.zeros(0),
        )


def _exponential(points: _Points, point: Any, measured: _Measured, *, is_delta: bool) -> None:
    tags, received = _tags(points, point), points.received
    parts = (point.positive, point.negative)
    is_fine = SCALE_MIN <= point.scale <= SCALE_MAX
    if not is_delta or not is_fine:
        # Its buckets cannot become measurements, but what it counts is right.
        _count(points, point, "_count", tags, point.count, not is_delta)
        if point.HasField("sum") and point.sum >= 0.0:
            _count(points, point, "_sum", tags, point.sum, not is_delta)
        return
    total = point.zero_count + sum(sum(part.bucket_counts) for part in parts)
    sizes = [len(part.bucket_counts) for part in parts]
    if total > measured.room or max(sizes) > BUCKETS_MAX:
        received.leave_out(LeftOut.TOO_MANY, f"{points.name} has too many measurements.")
        return
    try:
        key = series_key(MetricKind.OBSERVATION, points.name, tags)
    except UsageError as error:
        received.leave_out(LeftOut.INVALID, error.message)
        return
    if not 0 <= point.time_unix_nano < 2**63:
        received.leave_out(LeftOut.INVALID, f"{points.name} has a wrong time.")
        return
    values = [np.zeros(int(point.zero_count))]
    for part, sign in zip(parts, (1.0, -1.0), strict=True):
        buckets = np.arange(len(part.bucket_counts)) + (part.offset + 0.5)
        with np.errstate(over="ignore", under="ignore"):
            middles = sign * np.exp2(buckets * 2.0**-point.scale)
        values.append(np.repeat(middles, np.array(part.bucket_counts, np.int64)))
    found = np.concatenate(values)
    found = found[np.isfinite(found)]
    if len(found):
        measured.add(key, point.time_unix_nano, found)


# --- names and tags ---------------------------------------------------------------------------


def _name(metric: Any, *, is_counter: bool) -> str:
    name = re.sub(r"[^a-zA-Z0-9_:]+", "_", metric.name)
    if name[:1].isdigit():
        name = f"_{name}"
    name = name.removesuffix("_total") if is_counter else name
    unit = _unit(metric.unit)
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    return f"{name}_total" if is_counter else name


def _unit(unit: str) -> str:
    """The word for a unit; empty for none, for one in braces, and for one that has no word."""
    main, _, per = unit.partition("/")
    words = UNITS.get(main, "")
    return f"{words}_per_{UNITS[per].removesuffix('s')}" if words and per in UNITS else words


def _tags(points: _Points, point: Any) -> dict[str, str]:
    return {**points.tags, **_attributes(point.attributes, _tag_name)}


def _resource_tags(attributes: Iterable[Any]) -> dict[str, str]:
    return _attributes(attributes, lambda key: RESOURCE_TAGS.get(key, ""))


def _attributes(attributes: Iterable[Any], name_of: Callable[[str], str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for attribute in attributes:
        name = name_of(attribute.key)
        if name:
            tags[name] = _text(attribute.value)
    return tags


def _tag_name(key: str) -> str:
    name = re.sub(r"[^a-zA-Z0-9_]+", "_", key)
    return f"key_{name}" if name[:1].isdigit() else name


def _text(value: Any) -> str:
    of = value.WhichOneof("value")
    match of:
        case None:
            return ""
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "string_value" | "int_value" | "double_value":
            return str(getattr(value, of))
        case _:
            return f"({of.removesuffix('_value')})"  # A list has no text that is worth a series.
