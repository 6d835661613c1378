"""The text of an endpoint: both parsers of prometheus-client read back what was put in."""

import gzip
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from callboard.actors.metrics.series import MetricKind, SeriesKey
from callboard.runtime.telemetry.exposition.core import NodeFigures
from callboard.runtime.telemetry.exposition.figures import HostFigures
from callboard.runtime.telemetry.exposition.text import Registry
from tests.runtime.telemetry.exposition.pages import open_metrics
from tests.thoroughness import examples

OPEN = "application/openmetrics-text; version=1.0.0"
NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", fullmatch=True) | st.sampled_from(
    ["a", "a_total", "a_count", "a_sum", "a_bucket", "a_created", "callboard_actors"]
)
TAGS = st.dictionaries(
    st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True).filter(
        lambda name: not name.startswith("__")
    )
    | st.sampled_from(["host", "system", "le", "quantile"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    max_size=3,
)
SERIES = st.tuples(st.sampled_from(MetricKind), NAMES, TAGS)
VALUES = st.lists(st.floats(0.0, 1e12), min_size=1, max_size=3)


def registry_of(*hosts: HostFigures) -> Registry:
    node = NodeFigures()
    for number, figures in enumerate(hosts, 1):
        node.take(figures.report(f"host-{number}", f"token-{number}"), 0.0)
    return Registry(lambda: node.metrics('the "system"\\\n'))


@given(st.lists(st.tuples(SERIES, VALUES), max_size=8))
@settings(max_examples=examples(150))
def test_both_parsers_read_whatever_was_recorded(
    recorded: list[tuple[tuple[MetricKind, str, dict[str, str]], list[float]]],
) -> None:
    hosts = (HostFigures(), HostFigures())
    for (kind, name, tags), values in recorded:
        key = SeriesKey(kind, name, tuple(sorted(tags.items())))
        for figures in hosts:
            figures.record(key, values)
            figures.remember(key, values[0], 1.5, "an execution", 'a "step"')
    registry = registry_of(*hosts)
    metrics = open_metrics(registry.page(OPEN, compressed=False).body)
    plain = list(prometheus_text(registry.page("", compressed=False).body.decode()))
    kinds = {"counter", "gauge", "histogram"}
    assert {metric.type for metric in (*metrics, *plain)} <= kinds
    assert sum(len(f.samples) for f in metrics) == sum(len(f.samples) for f in plain)
    for metric in metrics:
        for sample in metric.samples:
            assert sample.labels["system"] == 'the "system"\\\n'
            assert sample.labels["host"] in {"host-1", "host-2"}


def test_values_come_back_as_they_were() -> None:
    figures = HostFigures()
    tags = (("kind", 'a "b"\\c\nd'),)
    figures.record(SeriesKey(MetricKind.COUNTER, "done_total", tags), (2.0, 3.0))
    figures.record(SeriesKey(MetricKind.GAUGE, "depth", tags), (1.0, -4.5))
    took = SeriesKey(MetricKind.OBSERVATION, "took_seconds", tags)
    figures.record(took, (0.0003, 0.3, 600.0))
    figures.remember(took, 0.3, 12.5, "e1", "read")
    metrics = {
        metric.name: metric
        for metric in open_metrics(registry_of(figures).page(OPEN, compressed=False).body)
    }
    labels = {"system": 'the "system"\\\n', "host": "host-1", "kind": 'a "b"\\c\nd'}
    (done,) = metrics["done"].samples
    assert (done.name, done.labels, done.value) == ("done_total", labels, 5.0)
    (depth,) = metrics["depth"].samples
    assert depth.value == -4.5
    took_samples = metrics["took_seconds"].samples
    by_name = {s.name: s.value for s in took_samples if "le" not in s.labels}
    assert by_name == {"took_seconds_count": 3.0, "took_seconds_sum": pytest.approx(600.3003)}
    buckets = {float(s.labels["le"]): s for s in took_samples if "le" in s.labels}
    assert buckets[0.5].value == 2.0
    assert buckets[math.inf].value == 3.0
    found = {bound: s.exemplar for bound, s in buckets.items() if s.exemplar}
    assert list(found) == [0.5]
    assert found[0.5].labels == {"execution": "e1", "step": "read"}
    assert (found[0.5].value, float(found[0.5].timestamp or 0)) == (0.3, 12.5)


def test_a_sum_that_could_shrink_is_left_out() -> None:
    figures = HostFigures()
    figures.record(SeriesKey(MetricKind.OBSERVATION, "change"), (-1.0, 2.0))
    (metric,) = open_metrics(registry_of(figures).page(OPEN, compressed=False).body)
    assert {sample.name for sample in metric.samples} == {"change_bucket"}


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/plain;version=0.0.4;q=0.5", "text/plain; version=0.0.4"),
        (OPEN, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1", "application/open"),
        ("application/openmetrics-text;version=nonsense", "application/open"),
        ("\x00;;==,", "text/plain"),
    ],
)
def test_the_format_is_the_one_that_is_accepted(accept: str, wanted: str) -> None:
    page = registry_of(HostFigures()).page(accept, compressed=False)
    assert page.content_type.startswith(wanted)


def test_a_page_can_be_compressed() -> None:
    registry = registry_of(HostFigures())
    packed = registry.page(OPEN, compressed=True)
    assert packed.encoding == "gzip"
    assert gzip.decompress(packed.body) == registry.page(OPEN, compressed=False).body
