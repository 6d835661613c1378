"""The meter: every point gets out once, or is counted with its reason, whatever is recorded."""

import asyncio
import math
import threading
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.kernel.inspection.meter import Instrument
from callboard.actors.metrics.recording.columns import PointColumns
from callboard.actors.metrics.recording.instruments import ITEMS_MAX
from callboard.actors.metrics.recording.meter import OVERFLOW_NAME, OVERFLOWS_MAX, HostMeter
from callboard.actors.metrics.recording.options import RecordingLimits
from callboard.actors.metrics.series import MetricKind
from callboard.messages.core.errors import UsageError

SMALL = RecordingLimits(series_max=20, series_of_metric_max=5, points_max=10_000)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def started(limits: RecordingLimits = SMALL, clock: Clock | None = None) -> HostMeter:
    meter = HostMeter(clock or Clock(), limits)
    meter.start()
    return meter


def rows(columns: PointColumns) -> list[tuple[str, dict[str, str], float]]:
    return [
        (columns.series[place].name, dict(columns.series[place].tags), value)
        for place, value in zip(columns.index.tolist(), columns.values.tolist(), strict=True)
    ]


def dropped(meter: HostMeter) -> dict[str, float]:
    return {
        name.removeprefix("dropped_"): count
        for name, count in meter.statistics().items()
        if name.startswith("dropped_") and count
    }


# --- single points --------------------------------------------------------------------------------


def test_each_observation_is_a_point_with_its_time() -> None:
    clock = Clock()
    meter = started(clock=clock)
    took = meter.bind_histogram("took_seconds", kind="a")
    took.observe(1.5)
    clock.now_s += 0.25
    meter.observe("took_seconds", 2, kind="a")
    found = meter.take()
    assert rows(found) == [("took_seconds", {"kind": "a"}, 1.5), ("took_seconds", {"kind": "a"}, 2)]
    assert np.diff(found.times_ns).tolist() == [pytest.approx(250_000_000, abs=500)]
    assert meter.take().points == 0


def test_a_counter_has_one_point_for_each_second() -> None:
    clock = Clock()
    meter = started(clock=clock)
    for _ in range(3):
        for _ in range(1_000):
            meter.count("orders_total")
            clock.now_s += 0.001
        meter.count("orders_total", 0.5)
    found = meter.take()
    assert found.values.sum() == pytest.approx(3_001.5)
    assert found.points in {3, 4}


def test_of_a_gauge_the_last_value_of_a_second_is_kept() -> None:
    meter = started()
    gauge = meter.bind_gauge("depth")
    for value in range(100):
        gauge.set(value)
    meter.gauge("other", 7.0)
    assert sorted(rows(meter.take())) == [("depth", {}, 99.0), ("other", {}, 7.0)]


@pytest.mark.parametrize(
    "value", [None, "1.5", "x", [], {}, 1j, object(), 10**400, Decimal("NaN"), b"1"]
)
@pytest.mark.parametrize("kind", ["observe", "count", "gauge"])
def test_a_value_that_is_no_number_is_counted_and_harms_no_other(kind: str, value: Any) -> None:
    meter = started()
    record = getattr(meter, kind)
    record("a_metric", 1.0)
    record("a_metric", value)
    found = meter.take()
    numbers = found.values[np.isfinite(found.values)]
    assert numbers.tolist() == [1.0]
    assert found.points + dropped(meter).get("invalid", 0) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_a_counter_takes_only_increases(value: float) -> None:
    meter = started()
    meter.count("orders_total", value)
    meter.count("orders_total", 2)
    assert meter.take().values.tolist() == [2.0]
    assert dropped(meter) == {"invalid": 1}


@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("", {}),
        ("a name", {}),
        ("9a", {}),
        (None, {}),
        ([], {}),
        ("a" * 1_000, {}),
        ("fine", {"tag": 7}),
        ("fine", {"tag": []}),
        ("fine", {"a-b": "x"}),
        ("fine", {"tag": "x" * 10_000}),
        ("fine", {f"tag{number}": "x" for number in range(10_000)}),
    ],
)
def test_a_wrong_name_raises_when_it_is_bound_and_is_counted_elsewhere(
    name: Any, tags: dict[str, Any]
) -> None:
    meter = started()
    for bind in (meter.bind_counter, meter.bind_histogram, meter.bind_gauge):
        with pytest.raises(UsageError):
            bind(name, **tags)
    meter.count(name, **tags)
    meter.observe(name, 1.0, **tags)
    meter.gauge(name, 1.0, **tags)
    assert meter.take().points == 0
    assert dropped(meter) == {"name": 3}


def test_tags_in_another_order_are_the_same_series() -> None:
    meter = started()
    meter.count("orders_total", a="1", b="2")
    meter.count("orders_total", b="2", a="1")
    assert meter.bind_counter("orders_total", b="2", a="1") is meter.bind_counter(
        "orders_total", a="1", b="2", c=""
    )
    assert rows(meter.take()) == [("orders_total", {"a": "1", "b": "2"}, 2.0)]


def test_a_tag_may_have_the_names_of_the_parameters() -> None:
    meter = started()
    meter.observe("took_seconds", 1.0, name="x", value="y", self="z")
    assert rows(meter.take()) == [("took_seconds", {"name": "x", "value": "y", "self": "z"}, 1.0)]


# --- limits -----------------------------------------------------------------------------------


def test_a_tag_that_explodes_goes_to_the_overflow_series_and_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter = started()
    for number in range(100):
        meter.count("orders_total", customer=str(number), kind="book")
    found = {
        tags.get("customer", tags.get("overflow", "")): value
        for _, tags, value in rows(meter.take())
    }
    assert found == {"0": 1, "1": 1, "2": 1, "3": 1, "4": 1, "true": 95}
    assert "'customer' has 5 values" in caplog.text
    assert len(caplog.records) == 1


def test_the_series_of_a_host_are_bounded_whatever_the_metrics() -> None:
    meter = started()
    for number in range(OVERFLOWS_MAX + 200):
        meter.count(f"metric_{number}", tag="x")
    found = rows(meter.take())
    assert sum(value for _, _, value in found) == OVERFLOWS_MAX + 200
    assert meter.statistics()["series"] <= SMALL.series_max + OVERFLOWS_MAX + 3
    assert any(name == OVERFLOW_NAME for name, _, _ in found)


def test_too_many_points_drop_the_newest_and_are_counted() -> None:
    meter = started(RecordingLimits(points_max=ITEMS_MAX))
    signals: list[bool] = []
    meter.on_pressure = lambda: signals.append(True)
    took = meter.bind_histogram("took_seconds")
    for number in range(5 * ITEMS_MAX):
        took.observe(float(number))
    found = meter.take()
    assert found.points + dropped(meter)["full"] == 5 * ITEMS_MAX
    assert found.points <= ITEMS_MAX + ITEMS_MAX // 2
    assert signals == [True]
    assert found.values[: ITEMS_MAX // 2].tolist() == list(range(ITEMS_MAX // 2))


def test_instruments_share_the_room_so_that_many_series_take_no_more() -> None:
    meter = started(RecordingLimits(points_max=10_000))
    series = [meter.bind_histogram("a", number=str(number)) for number in range(64)]
    for value in range(1_000):
        for each in series:
            each.observe(float(value))
    assert max(len(each.items) for each in series) <= 2 * 10_000 // 64
    assert meter.take().points + dropped(meter)["full"] == 64_000


def test_nothing_waits_while_the_meter_is_off() -> None:
    meter = HostMeter(Clock(), SMALL)
    took = meter.bind_histogram("took_seconds")
    for _ in range(10):
        took.observe(1.0)
        meter.count("orders_total")
    assert meter.record(took, [1, 2], [1.0, 2.0]) == 0
    assert not meter.is_on
    assert dropped(meter) == {"off": 22}
    assert meter.take().points == 0
    meter.start()
    took.observe(1.0)
    assert meter.take().points == 1


def test_a_meter_that_is_stopped_drops_what_waits() -> None:
    meter = started()
    took = meter.bind_histogram("took_seconds")
    took.observe(1.0)
    meter.stop()
    took.observe(1.0)
    assert dropped(meter) == {"off": 2}
    assert meter.statistics()["waiting"] == 0


# --- columns ------------------------------------------------------------------------------------


def test_columns_of_several_series_are_recorded_at_once() -> None:
    meter = started()
    series: list[Instrument] = [meter.bind_histogram("a"), meter.bind_counter("b")]
    values = np.array([1.0, 2.0, 3.0])
    assert meter.record(series, np.array([1, 2, 3]), values, np.array([0, 1, 0])) == 3
    values[:] = 0.0  # They were copied.
    assert rows(meter.take()) == [("a", {}, 1.0), ("b", {}, 2.0), ("a", {}, 3.0)]


@pytest.mark.parametrize(
    ("times", "values", "which"),
    [
        ([1, 2], [1.0], None),
        ([1], [1.0, 2.0], None),
        ([[1]], [[1.0]], None),
        ([1, 2], [1.0, 2.0], [0]),
        ([1, 2], [1.0, 2.0], [0, 7]),
        ([1, 2], [1.0, 2.0], [0, -1]),
        ([1, 2], [1.0, 2.0], [0.0, 1.0]),
        (["x"], [1.0], None),
        ([1], ["x"], None),
        ([10**30], [1.0], None),
        (None, None, None),
        (1, 1.0, None),
        (object(), object(), object()),
    ],
)
def test_malformed_columns_are_counted(times: Any, values: Any, which: Any) -> None:
    meter = started()
    assert meter.record(meter.bind_histogram("a"), times, values, which) == 0
    assert set(dropped(meter)) == {"malformed"}


def test_columns_of_another_meter_are_refused() -> None:
    meter = started()
    other = started().bind_histogram("a")
    assert meter.record(other, [1], [1.0]) == 0
    assert meter.record([], [], []) == 0
    assert dropped(meter) == {"malformed": 1}


def test_columns_that_have_no_room_are_taken_in_part() -> None:
    meter = started(RecordingLimits(points_max=100))
    took = meter.bind_histogram("a")
    assert meter.record(took, range(80), [0.0] * 80) == 80
    assert meter.record(took, range(80), [0.0] * 80) == 20
    assert meter.record(took, range(80), [0.0] * 80) == 0
    assert (meter.take().points, dropped(meter)) == (100, {"full": 140})


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["observe", "count", "gauge"]),
            st.sampled_from(["a", "b", "c d"]),
            st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=2)),
        ),
        max_size=60,
    )
)
def test_points_in_are_points_out_and_dropped_ones(
    calls: Iterable[tuple[str, str, Any]],
) -> None:
    meter = started()
    observed, counted = 0, 0.0
    for kind, name, value in calls:
        getattr(meter, kind)(name, value)
        is_number = isinstance(value, float | int) and name != "c d"
        observed += kind == "observe" and is_number
        if kind == "count" and is_number and math.isfinite(value) and value >= 0:
            counted += value
    found = meter.take()
    kinds = np.array([key.kind for key in found.series], int)[found.index]
    assert np.count_nonzero(kinds == MetricKind.OBSERVATION) == observed
    assert found.values[kinds == MetricKind.COUNTER].sum() == pytest.approx(counted)
    assert np.isfinite(found.values[kinds != MetricKind.OBSERVATION]).all()


# --- threads and waiting --------------------------------------------------------------------------


def test_no_point_is_lost_or_mixed_when_threads_record_during_flushes() -> None:
    meter = started(RecordingLimits(points_max=10_000_000))
    each, threads = 30_000, 4
    begin = threading.Barrier(threads + 1)

    def record(number: int) -> None:
        took = meter.bind_histogram("took_seconds", thread=str(number))
        shared = meter.bind_histogram("shared_seconds")
        begin.wait()
        for value in range(each):
            took.observe(float(value))
            shared.observe(float(number))
            meter.count("calls_total")

    running = [threading.Thread(target=record, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    begin.wait()
    taken = []
    while any(thread.is_alive() for thread in running):
        taken.append(meter.take())
    taken.append(meter.take())
    points = [row for columns in taken for row in rows(columns)]
    for number in range(threads):
        own = [value for _, tags, value in points if tags.get("thread") == str(number)]
        assert own == list(range(each))
    assert sum(value for name, _, value in points if name == "calls_total") == each * threads
    assert sum(name == "shared_seconds" for name, _, _ in points) == each * threads
    assert dropped(meter) == {}


async def test_a_wait_for_room_ends_with_a_flush_or_in_time() -> None:
    meter = started(RecordingLimits(points_max=100))
    took = meter.bind_histogram("a")
    assert await meter.until_room(1.0)
    meter.record(took, range(80), [0.0] * 80)
    assert not await meter.until_room(0.01)
    waiting = asyncio.ensure_future(meter.until_room(60.0))
    await asyncio.sleep(0)
    meter.take()
    meter.room_changed()
    assert await waiting
