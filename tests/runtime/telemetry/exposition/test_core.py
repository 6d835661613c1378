"""The figures of a node: what is shown only grows, whatever comes in whatever order."""

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.runtime.telemetry.exposition import core
from callboard.runtime.telemetry.exposition.core import ENDED_S, FORGOTTEN_S, NodeFigures
from callboard.runtime.telemetry.exposition.figures import (
    NO_SUM,
    HostFigures,
    Report,
    Row,
    bounds_of,
    decode_report,
    encode_report,
)
from tests.thoroughness import examples

COUNTER, GAUGE, SEEN = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.OBSERVATION
HANDLED = "callboard_messages_handled"


def shown(figures: NodeFigures, name: str = HANDLED) -> dict[str, float]:
    """The value of a counter or gauge for each host."""
    return {
        dict(sample.labels).get("host", ""): sample.values[0]
        for metric in figures.metrics("s")
        if metric.name == name
        for sample in metric.samples
    }


def counted(host: str, token: str, value: float) -> Report:
    return Report(host, token, (Row(COUNTER, HANDLED, (), (value,)),))


def test_a_replaced_host_goes_on_from_the_counters_of_the_one_before() -> None:
    figures = NodeFigures()
    figures.take(counted("host-1", "a", 5.0), 0.0)
    figures.left("a", 1.0)
    figures.take(counted("host-1", "b", 2.0), 2.0)
    assert shown(figures) == {"host-1": 7.0}
    figures.settle(1.0 + ENDED_S)
    assert shown(figures) == {"host-1": 7.0}
    figures.take(counted("host-1", "b", 3.0), 2.0 + ENDED_S)
    assert shown(figures) == {"host-1": 8.0}


def test_a_connection_that_comes_back_counts_once() -> None:
    figures = NodeFigures()
    figures.take(counted("host-1", "a", 5.0), 0.0)
    figures.left("a", 1.0)
    figures.settle(ENDED_S)
    figures.take(counted("host-1", "a", 5.0), ENDED_S)
    assert shown(figures) == {"host-1": 5.0}


def test_the_gauges_of_a_host_go_with_it() -> None:
    figures = NodeFigures()
    figures.take(Report("host-1", "a", (Row(GAUGE, "callboard_actors", (), (3.0,)),)), 0.0)
    assert shown(figures, "callboard_actors") == {"host-1": 3.0}
    figures.left("a", 1.0)
    assert shown(figures, "callboard_actors") == {}


def test_drivers_share_a_label() -> None:
    figures = NodeFigures()
    for token, value in (("a", 1.0), ("b", 2.0)):
        row = Row(GAUGE, "callboard_actors", (), (value,))
        report = counted("attached-driver", token, value)
        figures.take(report._replace(rows=(*report.rows, row)), 0.0)
    assert shown(figures) == {"attached-driver": 3.0}
    assert shown(figures, "callboard_actors") == {"attached-driver": 2.0}


def test_a_host_that_is_gone_for_long_is_forgotten() -> None:
    figures = NodeFigures()
    figures.take(counted("host-1", "a", 5.0), 0.0)
    figures.left("a", 0.0)
    figures.settle(ENDED_S)
    figures.settle(ENDED_S + FORGOTTEN_S - 2.0)
    assert shown(figures) == {"host-1": 5.0}
    figures.settle(ENDED_S + FORGOTTEN_S)
    assert shown(figures) == {}
    assert figures._series == 0


def test_the_series_of_a_node_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "SERIES_MAX", 3)
    figures = NodeFigures()
    rows = tuple(Row(COUNTER, "mine_total", (("n", str(n)),), (1.0,)) for n in range(5))
    for _ in range(2):
        figures.take(Report("host-1", "a", rows), 0.0)
    assert figures.dropped == (0, 2)
    (metric,) = figures.metrics("s")
    assert len(metric.samples) == 3


def test_recorded_metrics_never_hide_or_repeat_others() -> None:
    figures = NodeFigures()
    rows = (
        Row(COUNTER, HANDLED, (), (1.0,)),
        Row(GAUGE, f"{HANDLED}_total", (), (7.0,)),
        Row(COUNTER, "mine", (), (1.0,)),
        Row(COUNTER, "mine_total", (), (2.0,)),
        Row(GAUGE, "taken", (("host", "h"), ("exported_host", "e"), ("system", "x")), (1.0,)),
    )
    figures.take(Report("host-1", "a", rows), 0.0)
    by_name = {metric.name: metric for metric in figures.metrics("s")}
    assert sorted(by_name) == [HANDLED, "mine", "taken"]
    (sample,) = by_name["taken"].samples
    labels = dict(sample.labels)
    assert len(labels) == len(sample.labels) == 5
    assert (labels["system"], labels["host"]) == ("s", "host-1")
    assert {labels["exported_host"], labels["exported_exported_host"]} == {"h", "e"}


class Node(RuleBasedStateMachine):
    """Hosts that count, die, come back; reports that repeat; servers that die."""

    def __init__(self) -> None:
        super().__init__()
        self.figures = NodeFigures()
        self.now_s = 0.0
        self.tokens: dict[str, tuple[str, int]] = {}
        """Host and count of each token."""
        self.seen: dict[str, float] = {}

    @rule(host=st.sampled_from("ab"), number=st.integers(0, 3), more=st.integers(0, 9))
    def report(self, host: str, number: int, more: int) -> None:
        token = f"{host}{number}"
        _, count = self.tokens.get(token, (host, 0))
        self.tokens[token] = (host, count + more)
        data = encode_report(counted(host, token, float(count + more)))
        self.figures.take(decode_report(data), self.now_s)

    @rule(token=st.sampled_from(["a0", "a1", "b0", "b1"]))
    def leave(self, token: str) -> None:
        self.figures.left(token, self.now_s)

    @rule(seconds=st.floats(0.0, ENDED_S / 10))
    def pass_time(self, seconds: float) -> None:
        """Never so long that a token is over, as its host would have connected again."""
        self.now_s += seconds
        for token in self.tokens:
            _host, _count = self.tokens[token]
            if token in self.figures._incarnations:
                self.figures._incarnations[token].heard_s = self.now_s
        self.figures.settle(self.now_s)

    @rule()
    def next_server(self) -> None:
        data = self.figures.saved()
        self.figures = NodeFigures()
        self.figures.restore(data, self.now_s)

    @invariant()
    def what_is_shown_is_the_sum_and_never_less(self) -> None:
        found = shown(self.figures)
        for host in "ab":
            wanted = sum(count for each, count in self.tokens.values() if each == host)
            assert found.get(host, 0.0) == wanted >= self.seen.get(host, 0.0)
        self.seen = found


Node.TestCase.settings = settings(max_examples=examples(100))
TestNode = Node.TestCase


@given(st.binary(max_size=200))
@settings(max_examples=examples(400))
def test_any_bytes_are_a_report_or_refused(data: bytes) -> None:
    for decode in (decode_report, lambda data: NodeFigures().restore(data, 0.0)):
        with contextlib.suppress(ValueError):
            decode(data)


WRONG = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**63) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(WRONG, st.sampled_from(range(8)))
@settings(max_examples=examples(400))
def test_a_report_with_a_wrong_part_is_refused_or_shown_in_bounds(wrong: object, at: int) -> None:
    import msgpack

    row: list[object] = [0, "mine", [["tag", "value"]], [1.0], []]
    report: list[object] = ["host-1", "a", [row], 0, False]
    if at < 4:
        report[at] = wrong
    else:
        row[at - 4] = wrong
    try:
        found = decode_report(msgpack.packb(report))
    except (ValueError, OverflowError):
        return
    figures = NodeFigures()
    figures.take(found, 0.0)
    for metric in figures.metrics("s"):
        assert all(math.isfinite(value) for sample in metric.samples for value in sample.values)


# --- one host ---------------------------------------------------------------------------------


def row_of(figures: HostFigures, name: str) -> Row:
    (found,) = [row for row in figures.report("h", "t").rows if row.name == name]
    return found


@given(st.lists(st.floats(-10.0, 1e9), max_size=50))
@settings(max_examples=examples(100))
def test_the_buckets_of_observations_are_exact(values: list[float]) -> None:
    figures, key = HostFigures(), SeriesKey(SEEN, "took_seconds")
    figures.record(key, values)
    row, bounds = row_of(figures, "took_seconds"), bounds_of("took_seconds")
    below = 0.0
    for bound, count in zip((*bounds, math.inf), row.values[:-1], strict=True):
        below += count
        assert below == sum(value <= bound for value in values)
    if min(values, default=0.0) < 0.0:
        assert row.values[-1] == NO_SUM
    else:
        assert row.values[-1] == pytest.approx(sum(values))


def test_wrong_values_change_nothing() -> None:
    figures = HostFigures()
    for kind in MetricKind:
        figures.record(SeriesKey(kind, f"k{kind.value}_total"), (math.nan, math.inf, -math.inf))
    figures.record(SeriesKey(COUNTER, "k0_total"), (-5.0,))
    assert all(set(row.values) == {0.0} for row in figures.report("h", "t").rows)


def test_sums_stay_finite() -> None:
    figures, key = HostFigures(), SeriesKey(COUNTER, "large_total")
    figures.record(key, (1e308, 1e308, 1e308))
    assert decode_report(encode_report(figures.report("h", "t"))).rows[0].values[0] < math.inf


def test_exemplars_belong_to_their_bucket_and_are_bounded() -> None:
    figures, key = HostFigures(), SeriesKey(SEEN, "took_seconds")
    figures.remember(key, 0.3, 0.5, "e", "s")
    assert not figures.report("h", "t").rows
    figures.record(key, (0.3, 0.4, 70.0))
    for value in (0.3, 0.4, 70.0):
        figures.remember(key, value, 1.0, f"execution-{value}", "step" * 100)
    report = decode_report(encode_report(figures.report("h", "t")))
    found = dict(report.rows[0].exemplars)
    assert sorted(example.value for example in found.values()) == [0.4, 70.0]
    assert all(len(x.execution) + len(x.step) <= 100 for x in found.values())


def test_the_series_of_a_host_are_bounded() -> None:
    figures = HostFigures()
    for number in range(3_000):
        figures.record(SeriesKey(COUNTER, "mine_total", (("n", str(number)),)), (1.0,))
    report = figures.report("h", "t")
    assert (len(report.rows), report.dropped) == (2_000, 1_000)
    long = HostFigures()
    for number in range(600):
        long.record(SeriesKey(COUNTER, "mine_total", (("n", f"{number:01000}"),)), (1.0,))
    report = long.report("h", "t")
    assert len(report.rows) + report.dropped == 600
    assert report.dropped > 50
