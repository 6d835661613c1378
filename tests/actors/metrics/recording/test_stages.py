"""The stages: what they change and drop, and accounts that hold for each."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.actors.metrics.recording.columns import (
    PointColumns,
    checked_columns,
    merge_columns,
)
from callboard.actors.metrics.recording.options import RecordingOptions
from callboard.actors.metrics.recording.stages import Stages
from callboard.actors.metrics.series import Matcher, MatcherKind, MetricKind, SeriesKey, series_key
from callboard.messages.core.errors import SpecError, UsageError

NOW_NS = 1_800_000_000 * 1_000_000_000
OPTIONS = RecordingOptions(
    service="shop",
    environment="test",
    drop=((Matcher("__name__", MatcherKind.MATCHES, "debug_.*"),),),
    renames={"old_total": "new_total"},
    scales={"took_ms": 0.001},
)


def columns_of(*points: tuple[SeriesKey, int, float]) -> PointColumns:
    series = tuple(dict.fromkeys(key for key, _, _ in points))
    return PointColumns(
        series,
        np.array([series.index(key) for key, _, _ in points], np.int32),
        np.array([time_ns for _, time_ns, _ in points], np.int64),
        np.array([value for _, _, value in points], np.float64),
    )


def key(name: str, kind: MetricKind = MetricKind.OBSERVATION, **tags: str) -> SeriesKey:
    return series_key(kind, name, tags)


def test_points_pass_with_the_tags_of_the_host() -> None:
    stages = Stages(OPTIONS, "host-1")
    found = stages.run(columns_of((key("took_seconds", region="eu"), NOW_NS, 1.0)), NOW_NS)
    assert found.series[0].tags == (
        ("environment", "test"),
        ("instance", "host-1"),
        ("region", "eu"),
        ("service", "shop"),
    )


def test_a_tag_of_the_point_itself_wins() -> None:
    stages = Stages(OPTIONS, "host-1")
    found = stages.run(columns_of((key("a", instance="mine"), NOW_NS, 1.0)), NOW_NS)
    assert found.series[0].tag("instance") == "mine"


def test_metrics_are_renamed_scaled_and_left_out() -> None:
    stages = Stages(OPTIONS, "")
    found = stages.run(
        columns_of(
            (key("old_total", MetricKind.COUNTER), NOW_NS, 1.0),
            (key("took_ms"), NOW_NS, 250.0),
            (key("debug_a"), NOW_NS, 1.0),
        ),
        NOW_NS,
    )
    names = [found.series[place].name for place in found.index]
    assert dict(zip(names, found.values.tolist(), strict=True)) == {
        "new_total": 1.0,
        "took_ms": 0.25,
    }
    assert stages.accounts["filter"].dropped == {"filtered": 1}


@pytest.mark.parametrize(
    ("kind", "time_ns", "value", "reason"),
    [
        (MetricKind.OBSERVATION, NOW_NS, math.nan, "not_finite"),
        (MetricKind.GAUGE, NOW_NS, math.inf, "not_finite"),
        (MetricKind.COUNTER, NOW_NS, -1.0, "negative"),
        (MetricKind.COUNTER, NOW_NS, -math.inf, "not_finite"),
        (MetricKind.GAUGE, 0, 1.0, "time"),
        (MetricKind.GAUGE, -(2**63), 1.0, "time"),
        (MetricKind.GAUGE, 2**63 - 1, 1.0, "time"),
        (MetricKind.GAUGE, 1_800_000_000, 1.0, "time"),  # Seconds.
        (MetricKind.GAUGE, NOW_NS + 7_200 * 10**9, 1.0, "time"),
    ],
)
def test_a_point_that_cannot_be_is_dropped_for_one_reason(
    kind: MetricKind, time_ns: int, value: float, reason: str
) -> None:
    stages = Stages(OPTIONS, "host-1")
    found = stages.run(
        columns_of((key("a", kind), time_ns, value), (key("a", kind), NOW_NS, 1.0)), NOW_NS
    )
    assert found.points == 1
    assert stages.accounts["validate"].dropped == {reason: 1}


def test_a_series_with_too_many_tags_for_more_is_dropped() -> None:
    stages = Stages(OPTIONS, "host-1")
    full = key("a", MetricKind.GAUGE, **{f"tag{number}": "x" for number in range(32)})
    found = stages.run(columns_of((full, NOW_NS, 1.0), (key("b"), NOW_NS, 2.0)), NOW_NS)
    assert found.values.tolist() == [2.0]
    assert stages.accounts["enrich"].dropped == {"tags": 1}


def test_a_stage_that_raises_or_loses_points_drops_its_batch_and_the_next_one_passes() -> None:
    def fails(columns: PointColumns, effects: Any) -> PointColumns:
        if columns.points == 1:
            raise OSError
        return columns if columns.points == 2 else merge_columns((columns, columns))

    stages = Stages(OPTIONS, "host-1", {"own": fails})
    point = (key("a"), NOW_NS, 1.0)
    assert stages.run(columns_of(point), NOW_NS).points == 0
    assert stages.run(columns_of(point, point), NOW_NS).points == 2
    assert stages.run(columns_of(point, point, point), NOW_NS).points == 0
    assert stages.accounts["own"].dropped == {"stage_failed": 4}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "debug_a", "old_total", "took_ms"]),
            st.sampled_from(list(MetricKind)),
            st.integers(-(2**63), 2**63 - 1) | st.just(NOW_NS),
            st.floats(),
        ),
        max_size=30,
    )
)
def test_each_stage_accounts_for_every_point(points: list[tuple[str, Any, int, float]]) -> None:
    stages = Stages(OPTIONS, "host-1")
    found = stages.run(columns_of(*((key(n, k), t, v) for n, k, t, v in points)), NOW_NS)
    for account in stages.accounts.values():
        assert account.rows_in == account.rows_out + sum(account.dropped.values())
    dropped = sum(sum(account.dropped.values()) for account in stages.accounts.values())
    assert len(points) == found.points + dropped


# --- columns ------------------------------------------------------------------------------------


def test_merged_columns_have_each_series_once() -> None:
    one = columns_of((key("a"), 1, 1.0), (key("b"), 2, 2.0))
    other = columns_of((key("b"), 3, 3.0), (key("c"), 4, 4.0))
    found = merge_columns((one, other))
    assert [found.series[place].name for place in found.index] == ["a", "b", "b", "c"]
    assert len(found.series) == 3
    assert merge_columns(()).points == 0
    assert merge_columns((one,)) is one


@pytest.mark.parametrize(
    "columns",
    [
        PointColumns((key("a"),), [0], [1, 2], [1.0]),  # type: ignore[arg-type]
        PointColumns((key("a"),), [1], [1], [1.0]),  # type: ignore[arg-type]
        PointColumns((key("a"),), [-1], [1], [1.0]),  # type: ignore[arg-type]
        PointColumns((key("a"),), [0], ["x"], [1.0]),  # type: ignore[arg-type]
        PointColumns((key("a"),), [0], [1.5], [1.0]),  # type: ignore[arg-type]
        PointColumns((key("a"),), [[0]], [[1]], [[1.0]]),  # type: ignore[arg-type]
        None,
    ],
)
def test_malformed_columns_of_a_source_are_refused(columns: Any) -> None:
    with pytest.raises(UsageError):
        checked_columns(columns)


@pytest.mark.parametrize(
    "options",
    [
        {"shards": 0},
        {"flush_s": 0.0},
        {"timeout_s": math.nan},
        {"scales": {"a": 0.0}},
        {"scales": {"a": math.nan}},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="recording option"):
        RecordingOptions(**options)


@pytest.mark.parametrize("options", [{"service": "x" * 5_000}, {"renames": {"a": "b c"}}])
def test_names_and_tags_of_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RecordingOptions(**options)
