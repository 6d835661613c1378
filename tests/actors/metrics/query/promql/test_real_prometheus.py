"""A real Prometheus, where there is one, gives the same answers as our API: values, shape, errors.

Debian has it as the package `prometheus`. Each setting of the facts begins on a day of its own, so
that one server holds them all.
"""

import asyncio
import json
import math
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.errors import QueryRefused
from callboard.actors.metrics.query.prometheus_api import PrometheusApi
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from callboard.actors.metrics.query.promql.parser import parse
from callboard.actors.metrics.query.promql.vectors import Tags
from callboard.actors.metrics.query.readers import MemoryWindows
from tests.actors.metrics.query.promql.facts import Fact, Setting, facts
from tests.actors.metrics.query.promql.raw_samples import RawSamples, tags_of, values_of
from tests.thoroughness import examples, sharing_fixtures

DAY_S: Final = 86_400
BEGIN_S: Final = 19_000 * DAY_S
READY_S: Final = 60.0
AWAY: Final = not (shutil.which("prometheus") and shutil.which("promtool"))

pytestmark = pytest.mark.skipif(AWAY, reason="there is no Prometheus (Debian has it)")

FACTS: Final = [
    fact
    for fact in facts()
    # The format of its samples has no end of a series, and its clock is another one.
    if not any("stale" in values for values in fact.setting.series.values())
    and "time()" not in fact.expression
]
SETTINGS: Final = list({id(fact.setting): fact.setting for fact in FACTS}.values())


def begin_of(setting: Setting) -> int:
    return BEGIN_S + SETTINGS.index(setting) * DAY_S


def open_metrics() -> str:
    """All samples: those of one metric together, each series in the order of its times."""
    lines: dict[str, list[str]] = {}
    for setting in SETTINGS:
        for selector, text in setting.series.items():
            tags: Tags = tags_of(selector)
            name = dict(tags)["__name__"]
            own = ",".join(f'{tag}="{value}"' for tag, value in tags if tag != "__name__")
            for number, value in enumerate(values_of(text)):
                at_s = begin_of(setting) + setting.every_s * number
                if value != "_":
                    shown = "NaN" if value != value else value  # noqa: PLR0124 - NaN
                    lines.setdefault(name, []).append(f"{name}{{{own}}} {shown} {at_s:.3f}")
    parts = [f"# TYPE {name} unknown\n" + "\n".join(each) for name, each in lines.items()]
    return "\n".join(parts).replace("inf", "Inf") + "\n# EOF\n"


class Server:
    """A Prometheus with the samples."""

    def __init__(self, address: str) -> None:
        self.address: Final = address
        self.is_closed: Final = self.get("status/buildinfo")[1]["data"]["version"] < "3"

    def get(self, path: str, **parameters: str) -> tuple[int, Any]:
        query = urllib.parse.urlencode(
            [("match[]" if name == "match" else name, value) for name, value in parameters.items()]
        )
        try:
            with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{query}") as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples").write_text(open_metrics())
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "samples", "data"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (folder / "configuration.yml").write_text("{}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = started(folder, port)
    try:
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


def started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [
            "prometheus", "--config.file=configuration.yml", "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{port}",
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready"):
                return process
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise TimeoutError("Prometheus does not get ready")


def ours(server: Server, setting: Setting, path: str, **parameters: str) -> tuple[int, Any]:
    source = RawSamples(
        setting.every_s, setting.series, begin_s=begin_of(setting), is_closed=server.is_closed
    )
    api = PrometheusApi(ExpressionEvaluator(source), MemoryWindows())
    listed = {name.replace("match", "match[]"): [value] for name, value in parameters.items()}
    status, body = asyncio.run(api.answer(path, listed, 0))
    return status, json.loads(json.dumps(body, allow_nan=False))


def assert_alike(own: Any, other: Any) -> None:
    """The same structure, with numbers that differ by rounding only."""
    if isinstance(own, dict):
        assert own.keys() == other.keys()
        for key, value in own.items():
            assert_alike(value, other[key])
    elif isinstance(own, list):
        assert len(own) == len(other)
        for mine, theirs in zip(own, other, strict=True):
            assert_alike(mine, theirs)
    elif own != other:
        left, right = float(own), float(other)
        assert left == pytest.approx(right, rel=1e-9, abs=1e-9) or math.isnan(left + right)


def in_order(body: Any) -> Any:
    """Series of a vector have no order, unless it is asked for."""
    if body.get("data", {}).get("resultType") in {"vector", "matrix"}:
        body["data"]["result"].sort(key=lambda row: sorted(row["metric"].items()))
    return body


def request_of(fact: Fact) -> tuple[str, dict[str, str]]:
    begin = begin_of(fact.setting)
    if not fact.is_range:
        return "query", {"query": fact.expression, "time": f"{begin + fact.at_s}"}
    start, end = f"{begin + fact.at_s}", f"{begin + fact.to_s}"
    return "query_range", {
        "query": fact.expression, "start": start, "end": end, "step": f"{fact.step_s}",
    }  # fmt: skip


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.expression} at {fact.at_s:g}")
def test_the_answer_is_the_same(server: Server, fact: Fact) -> None:
    if server.is_closed and "[100m]" in fact.expression:
        pytest.skip("Prometheus 2 fills the beginning of a range in another way than 3")
    path, parameters = request_of(fact)
    status, own = ours(server, fact.setting, path, **parameters)
    other_status, other = server.get(path, **parameters)
    assert status == other_status, (own, other)
    if status == 200:
        is_sorted = fact.expression.startswith(("topk(", "bottomk("))
        for body in () if is_sorted else (own, other):
            in_order(body)
        assert_alike(own, other)
    else:
        assert own["errorType"] == other["errorType"]


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("query", {}),
        ("query", {"query": "x{"}),
        ("query", {"query": "sum(x[5m])"}),
        ("query", {"query": "nonsense(x)"}),
        ("query", {"query": "x", "time": "soon"}),
        ("query_range", {"query": "x"}),
        ("query_range", {"query": "x", "start": "0", "end": "10", "step": "0"}),
        ("query_range", {"query": "x", "start": "0", "end": "10", "step": "what"}),
        ("query_range", {"query": "x", "start": "10", "end": "0", "step": "1"}),
        ("series", {}),
        ("series", {"match": "x{"}),
        ("labels", {"match": "{}"}),
    ],
)
def test_errors_are_the_same(server: Server, path: str, parameters: dict[str, str]) -> None:
    status, own = ours(server, SETTINGS[0], path, **parameters)
    other_status, other = server.get(path, **parameters)
    assert (status, own["status"], own["errorType"]) == (
        other_status,
        other["status"],
        other["errorType"],
    )
    assert own.keys() == other.keys() - {"data"}


def test_empty_lists_are_the_same(server: Server) -> None:
    for path in ("label/none/values", "series"):
        status, own = ours(server, SETTINGS[0], path, match="none")
        assert (status, own) == server.get(path, match="none")


# --- expressions that nobody wrote ---------------------------------------------------------------

FLEET: Final = next(setting for setting in SETTINGS if setting.name == "operators")
TAGS: Final = st.lists(st.sampled_from(["job", "group", "instance", "l", "none"]), max_size=2)
LISTED: Final = TAGS.map(lambda tags: f"({', '.join(tags)})")
CONDITIONS: Final = st.sampled_from(
    [
        "", '{job="api"}', '{job!="api"}', '{group=~"can.*"}', '{instance!~"0|2"}', '{none=""}',
        '{job=~"a.i",instance="1"}',
    ]
)  # fmt: skip
SELECTORS: Final = st.builds(
    "{}{}".format, st.sampled_from(["calls_total", "matched_a", "matched_b", "away"]), CONDITIONS
)
OFFSETS: Final = st.sampled_from(["", " offset 7m", " offset -4m"])
INSTANTS: Final = st.builds("{}{}".format, SELECTORS, OFFSETS)
OVER: Final = st.builds(
    "{}({}[{}]{})".format,
    st.sampled_from(
        [f"{name}_over_time" for name in ("avg", "sum", "min", "max", "count", "last", "present")]
        + ["rate", "increase", "absent_over_time"]
    ),
    SELECTORS,
    st.sampled_from(["7m", "11m", "29m"]),
    OFFSETS,
)
NUMBERS: Final = st.sampled_from(["0", "1", "-2.5", "1e3", "NaN", "Inf", "time()", "scalar(away)"])


def larger(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    matching = st.one_of(
        st.just(""), st.builds("{}{}".format, st.sampled_from([" on", " ignoring"]), LISTED)
    )
    grouping = st.one_of(
        st.just(""), st.builds(" {} {} ".format, st.sampled_from(["by", "without"]), LISTED)
    )
    plain = st.sampled_from(["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"])
    compares = st.sampled_from(["==", "!=", "<", ">", "<=", ">="])
    counts = st.sampled_from(["+", "-", "*", "/", "%", "^"])
    return st.one_of(
        st.builds("({}) {}{} ({})".format, parts, counts, matching, parts),
        st.builds("({}) {}{} ({})".format, parts, compares, matching, parts),
        st.builds("({}) {} bool{} ({})".format, parts, compares, matching, parts),
        st.builds(
            "({}) {}{} ({})".format,
            parts,
            st.sampled_from(["and", "or", "unless"]),
            matching,
            parts,
        ),
        st.builds("({}) {} ({})".format, parts, counts, NUMBERS),
        st.builds("({}) {} ({})".format, NUMBERS, compares, parts),
        st.builds("{}{}({})".format, plain, grouping, parts),
        st.builds(
            "quantile{}({}, {})".format, grouping, st.sampled_from(["0.3", "0.9", "-1"]), parts
        ),
        st.builds("{}({})".format, st.sampled_from(["abs", "ceil", "-", "absent", "floor"]), parts),
        st.builds("clamp_max({}, {})".format, parts, NUMBERS),
        st.builds("round({}, 7)".format, parts),
    )


EXPRESSIONS: Final = st.recursive(st.one_of(INSTANTS, OVER), larger, max_leaves=5)


@settings(sharing_fixtures(), max_examples=examples(1_200))
@given(EXPRESSIONS, st.integers(2, 60))
def test_any_expression_has_the_same_answer(server: Server, expression: str, minute: int) -> None:
    begin = begin_of(FLEET) + 61 * minute
    parameters = {"query": expression, "start": f"{begin}", "end": f"{begin + 900}", "step": "300"}
    status, own = ours(server, FLEET, "query_range", **parameters)
    other_status, other = server.get("query_range", **parameters)
    assert status == other_status, (own, other)
    if status == 200:
        assert_alike(in_order(own), in_order(other))


PIECES: Final = st.sampled_from(
    [
        "", "(", ")", "[5m]", "[5m", "]", "{", "}", ",", "=", "=~", "+", "-", "^", "by", "on()",
        "bool", "offset 5m", "offset", "1", "5m", "1h30m", "0x1F", "1e", "inf", "sum", "rate",
        '"a"', "'b'", "`c`", "and", "or", "without(a)", "#", "\n", "==", "group", "up", "x:y", ":",
    ]
)  # fmt: skip


@settings(sharing_fixtures(), max_examples=examples(2_000))
@given(EXPRESSIONS, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), PIECES), max_size=3))
def test_what_we_read_prometheus_reads(
    server: Server, expression: str, changes: list[tuple[int, int, str]]
) -> None:
    """The language is a subset: whatever we do not refuse is no error there."""
    for place, length, piece in changes:
        expression = f"{expression[:place]} {piece} {expression[place + length :]}"
    try:
        parse(expression)
    except QueryRefused:
        return
    status, other = server.get("query", query=expression, time=f"{BEGIN_S}")
    if server.is_closed and "duration" in other.get("error", ""):
        return  # Only from 3 on, a duration is a number of seconds, and the other way round.
    assert status != 400, other
