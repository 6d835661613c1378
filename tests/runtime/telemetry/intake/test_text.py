"""Pages in Prometheus' formats become samples, and any other page is refused."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.recording.resets import CounterResets
from callboard.actors.metrics.series import MetricKind, SeriesKey, series_key
from callboard.messages.core.errors import UsageError
from callboard.runtime.telemetry.intake.received import IntakeLimits, LeftOut, Received
from callboard.runtime.telemetry.intake.text import parse_text
from tests.thoroughness import examples

NOW_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
OPEN = "application/openmetrics-text; version=1.0.0"
TEXT = """\
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{code="200",instance="mine"} 7
requests_total{code="500"} 1 1600000000000
# TYPE depth gauge
depth -3.5
# TYPE took_seconds histogram
took_seconds_bucket{le="0.1"} 2
took_seconds_bucket{le="+Inf"} 5
took_seconds_sum 4.5
took_seconds_count 5
# TYPE lag summary
lag{quantile="0.9"} 2.5
lag_sum 30
lag_count 12
something{a="b"} 1
"""


def parsed(body: bytes | str, content_type: str = "text/plain", **limits: int) -> Received:
    return parse_text(
        body.encode() if isinstance(body, str) else body,
        content_type,
        NOW_NS,
        labels={"job": "j", "instance": "i:1"},
        limits=IntakeLimits(**limits),
        is_late=lambda: False,
    )


def key(kind: MetricKind, name: str, **tags: str) -> SeriesKey:
    return series_key(kind, name, {"job": "j", "instance": "i:1", **tags})


def test_each_type_has_its_kind() -> None:
    found = {sample.key: (sample.value, sample.is_cumulative) for sample in parsed(TEXT).samples}
    counter, gauge = MetricKind.COUNTER, MetricKind.GAUGE
    assert found == {
        key(counter, "requests_total", code="200", exported_instance="mine"): (7.0, True),
        key(counter, "requests_total", code="500"): (1.0, True),
        key(gauge, "depth"): (-3.5, False),
        key(counter, "took_seconds_bucket", le="0.1"): (2.0, True),
        key(counter, "took_seconds_bucket", le="+Inf"): (5.0, True),
        key(counter, "took_seconds_sum"): (4.5, True),
        key(counter, "took_seconds_count"): (5.0, True),
        key(gauge, "lag", quantile="0.9"): (2.5, False),
        key(counter, "lag_sum"): (30.0, True),
        key(counter, "lag_count"): (12.0, True),
        key(gauge, "something", a="b"): (1.0, False),
    }


def test_a_sample_has_its_own_time_or_that_of_the_scrape() -> None:
    times = {sample.key.tag("code"): sample.time_ns for sample in parsed(TEXT).samples[:2]}
    assert times == {"200": NOW_NS, "500": 1_600_000_000 * SECOND_NS}


def test_counters_become_increases_also_over_a_restart() -> None:
    resets, values = CounterResets(), []
    for second, count in enumerate((5, 8, 2, 2)):
        body = f"# TYPE n_total counter\nn_total {count} {1_700_000_000_000 + 1_000 * second}\n"
        received = parsed(body)
        values.append(received.columns("t", resets).values.tolist())
        assert received.left_out[LeftOut.NO_INCREASE] == (second == 0)
    assert values == [[], [3.0], [2.0], [0.0]]


def test_a_time_of_creation_tells_that_nothing_was_missed() -> None:
    resets = CounterResets()
    page = '# TYPE n counter\nn_total{{a="{}"}} 4\nn_created{{a="{}"}} {}\n# EOF\n'
    parsed(page.format("x", "x", 1.0), OPEN).columns("t", resets)
    columns = parsed(page.format("y", "y", NOW_NS / 1e9), OPEN).columns("t", resets)
    assert columns.points <= 1, "it began at the time of the scrape"
    assert all(sample.start_ns for sample in parsed(page.format("x", "x", 1.0), OPEN).samples)
    assert {sample.key.name for sample in parsed(page.format("x", "x", 1.0), OPEN).samples} == {
        "n_total"
    }


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("a b c d\n", ""),
        ("a{b} 1\n", ""),
        ("# TYPE a counter\na_total 1\n", OPEN),  # It does not end with # EOF.
        ("# TYPE a nonsense\na 1\n", ""),
        (b"\xff\xfe", ""),
        ('a{b="c} 1\n', ""),
        ("<html>no metrics here</html>\n", ""),
    ],
)
def test_a_wrong_page_is_refused_whole(body: bytes | str, content_type: str) -> None:
    with pytest.raises(UsageError, match="format"):
        parsed(body, content_type)


def test_names_and_labels_out_of_bounds_are_left_out_and_counted() -> None:
    tags = ",".join(f'l{n}="v"' for n in range(40))
    received = parsed(f'a{{{tags}}} 1\nb{{c="{"x" * 2_000}"}} 1\n{{"ä.ö"}} 1\ngood 1\n')
    assert [sample.key.name for sample in received.samples] == ["good"]
    assert received.left_out == {LeftOut.INVALID: 3}
    assert "40" in received.first_problem or "42" in received.first_problem


def test_values_that_are_none_are_left_out() -> None:
    received = parsed("a NaN\nb +Inf\nc 1 99999999999999999999\nd 1\n")
    columns = received.columns("t", CounterResets())
    assert [each.name for each in columns.series] == ["d"]
    assert received.left_out == {LeftOut.NO_VALUE: 2, LeftOut.INVALID: 1}


def test_a_page_is_bounded() -> None:
    many = "".join(f'a{{n="{n}"}} 1\n' for n in range(30))
    received = parsed(many, samples_max=10)
    assert (len(received.samples), received.left_out) == (10, {LeftOut.TOO_MANY: 20})
    with pytest.raises(UsageError, match="lines"):
        parsed(many, samples_max=5)
    with pytest.raises(UsageError, match="bytes"):
        parsed(many, bytes_max=100)
    with pytest.raises(UsageError, match="characters"):
        parsed(many + 'b{c="' + "x" * 1_000 + '"} 1\n', line_characters_max=500)


def test_a_page_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(UsageError, match="too long"):
        parse_text(
            b"a 1\n" * 5_000,
            "",
            NOW_NS,
            labels={},
            limits=IntakeLimits(),
            is_late=lambda: True,
        )


LINES = st.lists(
    st.text(max_size=40)
    | st.sampled_from(TEXT.splitlines())
    | st.from_regex(r"# (TYPE|HELP|UNIT) [a-z]{1,3} [a-z]{0,9}", fullmatch=True)
    | st.from_regex(r'[a-z]{1,3}(_total|_bucket)?(\{[a-z"=,\\]{0,9}\})? [0-9.eInfNa+-]{0,5}'),
    max_size=8,
)


@given(LINES | st.text(max_size=100).map(lambda text: [text]), st.sampled_from(["", OPEN]))
@settings(max_examples=examples(400))
def test_any_text_becomes_points_or_is_refused(lines: list[str], content_type: str) -> None:
    body = "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n# EOF\n"
    try:
        received = parsed(body, content_type)
    except UsageError:
        return
    columns = received.columns("t", CounterResets())
    assert all(math.isfinite(value) for value in columns.values)
    assert len(columns.index) == len(columns.times_ns) == len(columns.values)
