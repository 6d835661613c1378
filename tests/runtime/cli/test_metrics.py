"""`callboard metrics`: what is in a store is asked for and drawn from the command line."""

import csv
import io
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from callboard.actors.metrics.errors import QueryRefused
from callboard.actors.metrics.query.question import (
    ListMetrics,
    MetricsAnswered,
    QueryMetrics,
    SeriesAnswered,
    answer_question,
)
from callboard.actors.metrics.rows import WINDOWS_NS
from callboard.actors.metrics.series import MetricKind
from callboard.messages.core.errors import UsageError
from callboard.runtime.api.metrics import open_windows
from callboard.runtime.api.start import start
from callboard.runtime.api.tiers import open_tiers
from callboard.runtime.cli.charts import chart, number, sparkline
from callboard.runtime.cli.metric_drawing import as_json, charts
from callboard.runtime.cli.metric_request import asked_for, duration_of, time_of
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.cli.sources import local_systems, query_all
from callboard.runtime.stores.choose import metrics_storage
from tests.actors.metrics.query.points import HOUR_NS, MINUTE_NS, START_NS, Point, key, windows

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No system of another test answers: their sockets are in another folder."""
    with tempfile.TemporaryDirectory(prefix="cb") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield


START_S = START_NS // 10**9
END = str(START_S + 3_600)
POINTS = [
    Point(key(name, kind, job=job), START_NS + minute * MINUTE_NS + 1, float(minute))
    for name, kind in (("heat", MetricKind.GAUGE), ("took", MetricKind.OBSERVATION))
    for job in ("a", "b")
    for minute in range(60)
] + [
    Point(key("calls_total", MetricKind.COUNTER), START_NS + minute * MINUTE_NS, 2.0)
    for minute in range(60)
]


def fill(path: Path) -> Path:
    store = metrics_storage(str(path))
    store.open()
    store.claim(0, 1)
    store.commit(0, 1, windows=[windows(POINTS, width) for width in WINDOWS_NS[:3]])
    store.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A store of an hour of two metrics with two series, and of a counter."""
    return str(fill(tmp_path / "log.db.metrics"))


# --- query ------------------------------------------------------------------------------------


def test_an_expression_at_one_time(callboard: Run, path: str) -> None:
    ended = callboard("metrics", "query", 'heat{job="a"}', "--to", END, "--store", path)
    assert ended.code == ExitCode.OK
    assert 'heat{job="a"}' in ended.out
    assert ended.out.split()[-1] == "59"


def test_an_expression_over_a_time(callboard: Run, path: str) -> None:
    ended = callboard(
        "metrics", "query", "sum(rate(calls_total[5m]))", "--from", "30m", "--to", END,
        "--step", "10m", "--store", path, "--json",
    )  # fmt: skip
    assert ended.code == ExitCode.OK
    found = json.loads(ended.out)
    assert found["times_s"] == [START_S + 60 * minute for minute in (30, 40, 50, 60)]
    (series,) = found["series"]
    assert series["values"] == pytest.approx([2.0 / 60.0] * 4)


def test_a_metric_by_name_tags_and_function(callboard: Run, path: str) -> None:
    ended = callboard(
        "metrics", "query", "--name", "took", "--tag", "job=~[b-z]", "--function", "max",
        "--from", "1h", "--to", END, "--step", "30m", "--store", path, "--json",
    )  # fmt: skip
    found = json.loads(ended.out)
    assert found["widths_s"] == [1_800.0, 1_800.0]
    assert found["series"] == [{"name": "took", "tags": {"job": "b"}, "values": [29.0, 59.0]}]


def test_an_answer_without_a_segment_says_so(callboard: Run, tmp_path: Path) -> None:
    path, objects = str(tmp_path / "log.db.metrics"), tmp_path / "objects"
    begin_ns = (time.time_ns() // (86_400 * 10**9) - 3) * 86_400 * 10**9
    store = metrics_storage(path)
    store.open()
    store.claim(0, 1)
    points = [
        Point(key("heat", MetricKind.GAUGE), begin_ns + minute * MINUTE_NS + 1, 1.0)
        for minute in range(120)
    ]
    store.commit(0, 1, windows=[windows(points, MINUTE_NS)])
    store.close()
    tiers = open_tiers(path, str(objects))
    tiers.open()
    assert tiers.round().switched == 2
    first, _ = tiers.catalogue.segments("metrics/60s")
    tiers.close()
    (objects / first.name).unlink()
    asked = (
        "metrics", "query", "--name", "heat", "--from", str(begin_ns // 10**9),
        "--to", str(begin_ns // 10**9 + 7_200), "--function", "count", "--store", path,
    )  # fmt: skip
    ended = callboard(*asked)
    assert ended.code == ExitCode.OK
    assert "incomplete: 1 segment cannot be read" in ended.err
    assert first.name in ended.err
    ended = callboard(*asked, "--json")
    found = json.loads(ended.out)
    assert found["missing_segments"] == [first.name]
    ((*values,),) = (each["values"] for each in found["series"])
    assert sum(value or 0 for value in values) == 60
    ended = callboard("metrics", "query", "--store", path, "--json")
    assert json.loads(ended.out)["missing_segments"] == [first.name]


def test_the_chart_has_a_line_for_each_series(callboard: Run, path: str) -> None:
    ended = callboard("metrics", "query", "--name", "heat", "--to", END, "--store", path)
    assert ended.code == ExitCode.OK
    assert ended.out.count("▁") >= 2
    assert "60 values of 1 min" in ended.out


def test_the_table_has_all_values(callboard: Run, path: str) -> None:
    ended = callboard(
        "metrics", "query", "--name", "calls_total", "--to", END, "--step", "15m",
        "--store", path, "--format", "table",
    )  # fmt: skip
    assert [line.split()[-1] for line in ended.out.splitlines()[2:]] == ["30"] * 4


def test_csv_has_a_line_for_each_value(callboard: Run, path: str) -> None:
    ended = callboard(
        "metrics", "query", "--name", "heat", "--function", "p50", "--by", "job", "--top", "1",
        "--to", END, "--step", "30m", "--store", path, "--format", "csv",
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert [row["time_s"] for row in rows] == [str(START_S), str(START_S + 1_800)]
    assert float(rows[1]["value"]) == pytest.approx(44.0, rel=0.01)
    assert rows[0]["metric"] == "heat"


def test_without_a_metric_the_metrics_are_listed(callboard: Run, path: str) -> None:
    ended = callboard("metrics", "query", "--store", path)
    assert [line.split() for line in ended.out.splitlines()[1:]] == [
        ["calls_total", "counter", "1"],
        ["heat", "gauge", "2"],
        ["took", "observation", "2"],
    ]
    found = json.loads(callboard("metrics", "query", "--store", path, "--json").out)
    assert found["metrics"][0] == {"name": "calls_total", "kind": "counter", "series": 1}


def test_no_values_is_a_failure(callboard: Run, path: str) -> None:
    for arguments in (["none"], ["--name", "none"]):
        ended = callboard("metrics", "query", *arguments, "--to", END, "--store", path)
        assert ended.code == ExitCode.FAILED
        assert "no values" in ended.err
    ended = callboard("metrics", "query", "none", "--store", path, "--json")
    assert (ended.code, json.loads(ended.out)["series"]) == (ExitCode.FAILED, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["heat{"], "character 6 of the expression"),
        (["irate(heat[5m])"], "irate is outside the subset"),
        (["calls_total", "--to", END], "a counter"),
        (["heat", "--name", "heat"], "says all itself"),
        (["--top", "3"], "no metric is named"),
        (["--name", "heat", "--function", "median"], "no function"),
        (["--name", "heat", "--tag", "job"], "no condition"),
        (["--name", "heat", "--tag", "job=~("], "cannot be read"),
        (["--name", "heat", "--step", "90s"], "whole windows"),
        (["--name", "heat", "--step", "x"], "no duration"),
        (["--name", "heat", "--from", "soon"], "no time"),
        (["--name", "heat", "--from", END, "--to", END], "empty"),
    ],
)
def test_a_wrong_question_is_refused(
    callboard: Run, path: str, arguments: list[str], words: str
) -> None:
    ended = callboard("metrics", "query", *arguments, "--store", path)
    assert ended.code == ExitCode.USAGE
    assert words in " ".join(ended.err.split())


def test_a_store_that_is_not_there_is_not_made(callboard: Run, tmp_path: Path) -> None:
    ended = callboard("metrics", "query", "heat", "--store", str(tmp_path / "none"))
    assert ended.code == ExitCode.USAGE
    assert not (tmp_path / "none").exists()


def test_the_newest_store_of_the_user_is_the_default(
    callboard: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOARD_HOME", str(tmp_path))
    ended = callboard("metrics", "query", "heat")
    assert ended.code == ExitCode.USAGE
    assert "no store of metrics" in ended.err
    (tmp_path / "journals").mkdir()
    fill(tmp_path / "journals" / "system.db.metrics")
    assert callboard("metrics", "query", "heat", "--to", END).code == ExitCode.OK


# --- watch ------------------------------------------------------------------------------------


def test_watch_draws_charts_once(
    callboard: Run, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: START_NS + 60 * MINUTE_NS)
    ended = callboard("metrics", "watch", "heat", "--once", "--store", path, "--lines", "3")
    assert ended.code == ExitCode.OK
    assert ended.out.count("heat{job=") == 2
    assert "█" in ended.out
    ended = callboard("metrics", "watch", "--once", "--store", path)
    assert ended.code == ExitCode.USAGE


def answered(values: list[float | str | None], count: int = 1) -> MetricsAnswered:
    times = tuple(START_NS + n * MINUTE_NS for n in range(len(values)))
    series = tuple(
        SeriesAnswered(metric=f"heat{n}", tags=(("job", "a"),), values=tuple(values))
        for n in range(count)
    )
    return MetricsAnswered(times_ns=times, widths_ns=(MINUTE_NS,) * len(values), series=series)


def rendered(answer: MetricsAnswered, height: int = 2, charts_max: int = 8) -> list[str]:
    console = Console(width=72, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(charts(answer, console.width, height, charts_max))
    return captured.get().splitlines()


def test_a_chart_has_a_title_columns_and_its_time() -> None:
    title, high, low, time = rendered(answered([float(n) for n in range(16)]))
    assert title == 'heat0{job="a"}  15  0 to 15'
    assert low == "▁▂▃▄▅▆▇█████████"
    assert high == "        ▁▂▃▄▅▆▇█"
    assert time.endswith("16 values of 1 min")


def test_hidden_series_are_counted() -> None:
    lines = rendered(answered([1.0, None], count=5), charts_max=2)
    assert any("3 more series" in line for line in lines)


def test_an_answer_without_series_says_so() -> None:
    assert rendered(answered([], count=0)) == ["no values."]


def test_infinite_values_are_drawn_and_are_json() -> None:
    answer = answered([1.0, "+Inf", "-Inf", None])
    assert json.loads(as_json(answer))["series"][0]["values"] == [1.0, "+Inf", "-Inf", None]
    assert rendered(answer)[0].endswith("-Inf  -Inf to +Inf")


# --- parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1.0, 2.0, 3.0], "▁▅█"),
        ([0.0, 0.0], "▁▁"),
        ([5.0, 5.0], "▄▄"),
        ([1.0, math.nan, 2.0], "▁·█"),
        ([math.nan], "·"),
        ([math.inf, 1.0, -math.inf], "·▄·"),
        ([-1.7e308, 1.7e308], "▁█"),
        ([0.0, 0.0, 9.0, 9.0], "▁█"),
    ],
)
def test_sparklines(values: list[float], line: str) -> None:
    assert sparkline(values, 3 if len(values) < 4 else 2) == line


def test_a_chart_is_as_wide_as_asked() -> None:
    lines = chart([float(n) for n in range(1_000)], 50, 4)
    assert [len(line) for line in lines] == [50] * 4
    assert lines[0].endswith("█")
    assert lines[-1].startswith("▁")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1234567.0, "1,234,567"), (0.12345678, "0.1235"), (12.3456, "12.346"),
        (1.5e-9, "1.5e-09"), (1.5e15, "1.5e+15"), (math.nan, "–"), (math.inf, "+Inf"),
        (123456.7, "123,457"),
    ],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_times() -> None:
    assert time_of("90m", START_NS) == START_NS - 90 * MINUTE_NS
    assert time_of(str(START_S), 0) == START_NS
    assert time_of(f"{START_S}.5", 0) == START_NS + 500_000_000
    assert time_of("2024-10-04T00:00:00+00:00", 0) == START_NS
    assert duration_of("1h30m", "--step") == 90 * MINUTE_NS
    for wrong in ("", "yesterday", "-5m", "1e99", "٣"):
        with pytest.raises(UsageError):
            time_of(wrong, 0)


def test_an_expression_is_checked_before_a_store_is_opened() -> None:
    with pytest.raises(QueryRefused):
        asked_for(
            expression="sum(", name=None, tags=(), function="auto", by=None, top=None,
            begin=None, end=None, step=None,
        )  # fmt: skip


# --- a running system ---------------------------------------------------------------------------


async def test_a_job_of_a_moment_answers_right_afterwards(tmp_path: Path) -> None:
    """Nothing waits for the end of a minute: an ordered end stores the windows that are open."""
    path = str(tmp_path / "short.db.metrics")
    async with start(engine="inline", hosts=1, metrics=path) as system:
        system.meter.count("jobs_done", 3.0)
        system.meter.gauge("heat", 7.0)
    for expression, value in (("increase(jobs_done[5m])", 3.0), ("heat", 7.0)):
        asked = asked_for(
            expression=expression, name=None, tags=(), function="auto", by=None, top=None,
            begin=None, end=None, step=None,
        )  # fmt: skip
        async with open_windows(path) as reader:
            found = await answer_question(reader, asked.at(time.time_ns()))
        assert [series.values for series in found.series] == [(value,)]


def test_an_open_window_is_named_as_such(
    callboard: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = metrics_storage(str(tmp_path / "m"))
    store.open()
    store.claim(0, 1)
    store.commit(0, 1, windows=[windows([Point(key("heat"), START_NS, 7.0)])])
    store.close()
    monkeypatch.setattr(time, "time_ns", lambda: START_NS + 20_000_000_000)
    asked = ("metrics", "query", "heat", "--store", str(tmp_path / "m"))
    ended = callboard(*asked)
    assert ended.out.split()[-1] == "7"
    assert "No window has ended yet" in ended.err
    assert json.loads(callboard(*asked, "--json").out)["open_until_s"] == START_S + 60
    assert "still open" in callboard(*asked, "--from", "10m").out
    past = callboard(*asked, "--to", "1s")
    assert (past.code, past.out) == (ExitCode.FAILED, "")


async def test_a_running_system_answers_with_its_newest_windows(tmp_path: Path) -> None:
    now_ns = time.time_ns()
    question = QueryMetrics(
        from_ns=now_ns - HOUR_NS,
        to_ns=now_ns + HOUR_NS,
        matchers=(("__name__", "=", "jobs_done"),),
        by=(),
    )
    async with start(engine="inline", hosts=1, metrics=str(tmp_path / "m")) as system:
        system.meter.count("jobs_done", 3.0, kind="a")
        assert await system.metrics.flush() == 0
        (found,) = await query_all(local_systems(), question)
        assert found.view is not None, found.problem
        (series,) = found.view.series
        assert sum(value for value in series.floats() if not math.isnan(value)) == 3.0
        (listed,) = await query_all(local_systems(), ListMetrics())
        assert listed.view is not None
        assert ("jobs_done", "counter", 1) in listed.view.metrics
        (refused,) = await query_all(
            local_systems(), QueryMetrics(from_ns=1, to_ns=2, matchers=(("a", "~", "b"),))
        )
        assert "a condition is wrong" in refused.problem


async def test_a_system_without_metrics_says_so() -> None:
    async with start(engine="inline", hosts=1, metrics="off"):
        (found,) = await query_all(local_systems(), ListMetrics())
    assert found.view is None
    assert "keeps no metrics" in found.problem
