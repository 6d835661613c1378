"""Requests of OpenTelemetry's protocol become points; any other bytes are refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.series import MetricKind, SeriesKey, series_key
from callboard.actors.metrics.sketch import keys_of
from callboard.messages.core.errors import UsageError
from tests.thoroughness import examples

service = pytest.importorskip(
    "opentelemetry.proto.collector.metrics.v1.metrics_service_pb2",
    reason="the extra `otlp` is not installed",
)

from callboard.runtime.telemetry.intake import otlp  # noqa: E402
from callboard.runtime.telemetry.intake.otlp import OtlpDecoder, OtlpReceived  # noqa: E402
from callboard.runtime.telemetry.intake.received import IntakeLimits  # noqa: E402

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS
DELTA, CUMULATIVE = 1, 2
TAGS = {"service": "shop", "instance": "i-1", "environment": "test", "region": "eu"}


def request_with(*metrics: dict[str, Any]) -> Any:
    request = service.ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    attributes = {
        "service.name": "shop",
        "service.instance.id": "i-1",
        "deployment.environment.name": "test",
        "cloud.region": "eu",
        "process.pid": "17",
    }
    for name, value in attributes.items():
        resource.resource.attributes.add(key=name).value.string_value = value
    scope = resource.scope_metrics.add()
    for fields in metrics:
        scope.metrics.add(**fields)
    return request


def point(second: int, value: float | None = None, start: int = 0, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "time_unix_nano": START_NS + second * SECOND_NS,
        "start_time_unix_nano": START_NS + start * SECOND_NS,
        **more,
    }
    return found if value is None else {**found, "as_double": value}


def decoded(*metrics: dict[str, Any], decoder: OtlpDecoder | None = None) -> OtlpReceived:
    body = request_with(*metrics).SerializeToString()
    return (decoder or OtlpDecoder()).decode(body, "sender")


def values_of(found: OtlpReceived) -> dict[SeriesKey, list[float]]:
    columns = found.columns
    return {
        each: columns.values[columns.index == place].tolist()
        for place, each in enumerate(columns.series)
    }


def key(kind: MetricKind, name: str, **tags: str) -> SeriesKey:
    return series_key(kind, name, {**TAGS, **tags})


def test_a_gauge_has_the_tags_of_its_resource_and_its_own() -> None:
    value = {"key": "host.name", "value": {"string_value": "h"}}
    found = decoded(
        {"name": "queue.size", "gauge": {"data_points": [point(1, 4.0, attributes=[value])]}}
    )
    assert values_of(found) == {key(MetricKind.GAUGE, "queue_size", host_name="h"): [4.0]}
    assert found.columns.times_ns.tolist() == [START_NS + SECOND_NS]
    assert (found.rejected, found.answer) == (0, b"")


def test_names_are_those_of_prometheus() -> None:
    names = {
        ("http.server.duration", "s", True): "http_server_duration_seconds_total",
        ("http.server.requests", "{request}", True): "http_server_requests_total",
        ("done_total", "1", True): "done_total",
        ("memory.used", "By", False): "memory_used_bytes",
        ("speed", "By/s", False): "speed_bytes_per_second",
        ("size_bytes", "By", False): "size_bytes",
        ("4xx", "", False): "_4xx",
    }
    for (name, unit, is_counter), wanted in names.items():
        data = {"data_points": [point(1, 1.0)]}
        metric = (
            {"sum": {**data, "is_monotonic": True, "aggregation_temporality": DELTA}}
            if is_counter
            else {"gauge": data}
        )
        (series,) = decoded({"name": name, "unit": unit, **metric}).columns.series
        assert series.name == wanted


def test_sums_become_increases() -> None:
    def sums(temporality: int, *points: dict[str, Any], monotonic: bool = True) -> dict[str, Any]:
        return {
            "name": "n",
            "sum": {
                "data_points": points,
                "is_monotonic": monotonic,
                "aggregation_temporality": temporality,
            },
        }

    counter = key(MetricKind.COUNTER, "n_total")
    found = decoded(sums(DELTA, point(1, 4.0), point(2, 0.5)))
    assert values_of(found) == {counter: [4.0, 0.5]}
    decoder = OtlpDecoder()
    points = (point(1, 4.0), point(2, 9.0), point(3, 9.0), point(5, 2.0, start=4))
    found = decoded(sums(CUMULATIVE, *points), decoder=decoder)
    assert values_of(found) == {counter: [5.0, 0.0, 2.0]}
    found = decoded(sums(CUMULATIVE, *points), decoder=decoder)
    assert values_of(found) == {}, "a repeated request adds nothing"
    assert found.rejected == 0
    found = decoded(sums(CUMULATIVE, point(1, -4.0), monotonic=False))
    assert values_of(found) == {key(MetricKind.GAUGE, "n"): [-4.0]}
    found = decoded(sums(DELTA, point(1, 4.0), point(2, 4.0), monotonic=False))
    assert (values_of(found), found.rejected) == ({}, 2)
    response = service.ExportMetricsServiceResponse.FromString(found.answer)
    assert response.partial_success.rejected_data_points == 2
    assert "cumulative" in response.partial_success.error_message


def test_a_histogram_stays_counts_of_its_buckets() -> None:
    histogram = point(1, count=6, sum=7.5, bucket_counts=[1, 2, 3], explicit_bounds=[0.5, 2.0])
    found = decoded(
        {
            "name": "took",
            "unit": "s",
            "histogram": {"data_points": [histogram], "aggregation_temporality": DELTA},
        }
    )
    counter = MetricKind.COUNTER
    assert values_of(found) == {
        key(counter, "took_seconds_bucket", le="0.5"): [1.0],
        key(counter, "took_seconds_bucket", le="2.0"): [3.0],
        key(counter, "took_seconds_bucket", le="+Inf"): [6.0],
        key(counter, "took_seconds_count"): [6.0],
        key(counter, "took_seconds_sum"): [7.5],
    }
    wrong = point(1, count=6, bucket_counts=[1, 2], explicit_bounds=[0.5, 2.0])
    found = decoded({"name": "took", "histogram": {"data_points": [wrong]}})
    assert (found.columns.points, found.rejected) == (0, 1)


@given(
    st.lists(st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6) | st.just(0.0), min_size=1),
    st.integers(otlp.SCALE_MIN, 10),
)
@settings(max_examples=examples(100))
def test_an_exponential_histogram_becomes_measurements(values: list[float], scale: int) -> None:
    """Each within the width of its bucket; the sketches then have their own 1 %."""
    base = 2.0 ** (2.0**-scale)
    sides: dict[str, Any] = {}
    for side, sign in (("positive", 1.0), ("negative", -1.0)):
        sizes = [sign * value for value in values if sign * value > 0.0]
        places = [math.ceil(math.log(size) / math.log(base)) - 1 for size in sizes]
        if places and max(places) - min(places) < otlp.BUCKETS_MAX:
            counts = np.bincount(np.array(places) - min(places)).tolist()
            sides[side] = {"offset": min(places), "bucket_counts": counts}
    kept = sorted(
        value
        for value in values
        if value == 0.0 or ("positive" if value > 0.0 else "negative") in sides
    )
    if not kept:
        return
    histogram = point(
        1, count=len(kept), scale=scale, zero_count=values.count(0.0), sum=sum(kept), **sides
    )
    found = decoded(
        {
            "name": "took",
            "exponential_histogram": {
                "data_points": [histogram],
                "aggregation_temporality": DELTA,
            },
        }
    )
    (measured,) = values_of(found).values()
    assert found.columns.series[0].kind is MetricKind.OBSERVATION
    assert np.allclose(sorted(measured), kept, rtol=base - 1.0, atol=0.0)
    assert len(keys_of(np.array(measured))) == len(kept)


def test_an_exponential_histogram_that_is_coarse_or_cumulative_keeps_its_counts() -> None:
    for scale, temporality in ((2, DELTA), (7, CUMULATIVE)):
        histogram = point(
            1, count=3, sum=4.0, scale=scale, positive={"offset": 0, "bucket_counts": [3]}
        )
        metric = {
            "name": "took",
            "exponential_histogram": {
                "data_points": [histogram],
                "aggregation_temporality": temporality,
            },
        }
        found = decoded(metric)
        assert found.rejected == 0
        if temporality == DELTA:
            assert values_of(found) == {
                key(MetricKind.COUNTER, "took_count"): [3.0],
                key(MetricKind.COUNTER, "took_sum"): [4.0],
            }


def test_a_summary_has_counters_and_gauges() -> None:
    decoder = OtlpDecoder()

    def summed(second: int, count: int) -> OtlpReceived:
        quantile = {"quantile": 0.9, "value": 1.5}
        data = point(second, count=count, sum=2.0 * count, quantile_values=[quantile])
        return decoded({"name": "lag", "summary": {"data_points": [data]}}, decoder=decoder)

    summed(1, 2)
    found = summed(2, 5)
    assert values_of(found) == {
        key(MetricKind.COUNTER, "lag_count"): [3.0],
        key(MetricKind.COUNTER, "lag_sum"): [6.0],
        key(MetricKind.GAUGE, "lag", quantile="0.9"): [1.5],
    }


def test_points_without_a_value_and_of_wrong_names_are_reported() -> None:
    none = point(1, flags=1)
    found = decoded(
        {"name": "a", "gauge": {"data_points": [none, point(1, math.nan), point(1, 2.0)]}},
        {"name": "", "gauge": {"data_points": [point(1, 2.0)]}},
        {"name": "no_data"},
    )
    assert values_of(found) == {key(MetricKind.GAUGE, "a"): [2.0]}
    assert found.rejected == 3
    late = {**point(1, 1.0), "time_unix_nano": 2**64 - 1}
    assert decoded({"name": "a", "gauge": {"data_points": [late]}}).rejected == 1


def test_a_request_is_bounded() -> None:
    many = [point(n, 1.0) for n in range(50)]
    body = request_with({"name": "a", "gauge": {"data_points": many}}).SerializeToString()
    found = OtlpDecoder(limits=IntakeLimits(samples_max=20)).decode(body, "s")
    assert (found.columns.points, found.rejected) == (20, 30)
    with pytest.raises(UsageError, match="bytes"):
        OtlpDecoder(limits=IntakeLimits(bytes_max=10)).decode(body, "s")
    huge = point(1, count=2**62, scale=7, positive={"offset": 0, "bucket_counts": [2**62]})
    found = decoded(
        {
            "name": "a",
            "exponential_histogram": {"data_points": [huge], "aggregation_temporality": DELTA},
        }
    )
    assert (found.columns.points, found.rejected) == (0, 1)


WHOLE = request_with(
    {"name": "a", "gauge": {"data_points": [point(1, 1.0)]}},
    {
        "name": "b",
        "sum": {
            "data_points": [point(1, 1.0)],
            "is_monotonic": True,
            "aggregation_temporality": DELTA,
        },
    },
    {
        "name": "c",
        "exponential_histogram": {
            "data_points": [
                point(1, count=2, scale=6, positive={"offset": 3, "bucket_counts": [1, 1]})
            ],
            "aggregation_temporality": DELTA,
        },
    },
    {
        "name": "d",
        "histogram": {
            "data_points": [point(1, count=1, bucket_counts=[1, 0], explicit_bounds=[1.0])]
        },
    },
).SerializeToString()


def changed(changes: list[tuple[int, int]]) -> bytes:
    body = bytearray(WHOLE)
    for place, value in changes:
        body[place] = value
    return bytes(body)


@given(
    st.binary(max_size=100)
    | st.integers(0, len(WHOLE)).map(lambda size: WHOLE[:size])
    | st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6
    ).map(changed)
)
@settings(max_examples=examples(800))
def test_any_bytes_become_points_or_are_refused(body: bytes) -> None:
    try:
        found = OtlpDecoder().decode(body, "s")
    except UsageError:
        return
    assert all(math.isfinite(value) for value in found.columns.values)
    service.ExportMetricsServiceResponse.FromString(found.answer)
