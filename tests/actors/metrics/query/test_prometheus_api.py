"""The answers of the read API: their shape, and every error in it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.query.prometheus_api import ENDPOINTS, ApiAnswer, PrometheusApi
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from callboard.actors.metrics.query.readers import MemoryWindows
from callboard.actors.metrics.query.window_samples import WindowSamples
from callboard.actors.metrics.series import MetricKind
from callboard.messages.core.errors import StoreFailed
from tests.actors.metrics.query.points import MINUTE_NS, START_NS, Point, key, store
from tests.thoroughness import examples

START_S = START_NS // 10**9


def api(reader: MemoryWindows | None = None) -> PrometheusApi:
    points = [
        Point(key("heat", MetricKind.GAUGE, job=job), START_NS + minute * MINUTE_NS, minute + 0.5)
        for job in ("a", "b")
        for minute in range(10)
    ]
    points.append(Point(key("calls_total", MetricKind.COUNTER), START_NS + 9 * MINUTE_NS, 6.0))
    own = reader or store(points)
    return PrometheusApi(ExpressionEvaluator(WindowSamples(own)), own)


async def get(path: str, **parameters: str | list[str]) -> ApiAnswer:
    listed = {
        name.replace("match", "match[]"): [value] if isinstance(value, str) else value
        for name, value in parameters.items()
    }
    found = await api().answer(path, listed, START_NS + 10 * MINUTE_NS)
    json.dumps(found.body, allow_nan=False)
    return found


async def data(path: str, **parameters: str | list[str]) -> Any:
    found = await get(path, **parameters)
    assert found.status == 200, found
    assert found.body["status"] == "success"
    return found.body["data"]


async def test_a_vector_has_metrics_with_one_value() -> None:
    assert await data("query", query="heat") == {
        "resultType": "vector",
        "result": [
            {"metric": {"__name__": "heat", "job": "a"}, "value": [START_S + 600, "9.5"]},
            {"metric": {"__name__": "heat", "job": "b"}, "value": [START_S + 600, "9.5"]},
        ],
    }


async def test_a_number_is_a_scalar() -> None:
    found = await data("query", query="1 / 0", time=f"{START_S}.25")
    assert found == {"resultType": "scalar", "result": [START_S + 0.25, "+Inf"]}


async def test_a_range_is_a_matrix() -> None:
    found = await data(
        "query_range",
        query='heat{job="a"} > 2',
        start=str(START_S + 60),
        end="2024-10-04T00:04:00Z",
        step="1m",
    )
    assert found == {
        "resultType": "matrix",
        "result": [
            {
                "metric": {"__name__": "heat", "job": "a"},
                "values": [[START_S + 180, "2.5"], [START_S + 240, "3.5"]],
            }
        ],
    }


async def test_a_number_over_a_range_is_a_matrix_of_one() -> None:
    found = await data("query_range", query="2", start=str(START_S), end=str(START_S), step="15")
    assert found == {
        "resultType": "matrix",
        "result": [{"metric": {}, "values": [[START_S, "2"]]}],
    }


async def test_series_labels_and_values() -> None:
    assert await data("series", match=["heat", "calls_total"]) == [
        {"__name__": "calls_total"},
        {"__name__": "heat", "job": "a"},
        {"__name__": "heat", "job": "b"},
    ]
    assert await data("labels") == ["__name__", "job"]
    assert await data("labels", match="calls_total") == ["__name__"]
    assert await data("label/job/values") == ["a", "b"]
    assert await data("label/__name__/values", match='{job="a"}') == ["heat"]
    assert await data("label/none/values") == []
    assert await data("series", match="heat", end=str(START_S - 1)) == []


async def test_a_limit_cuts_with_a_warning() -> None:
    found = await get("label/job/values", limit="1")
    assert found.body["data"] == ["a"]
    assert found.body["warnings"] == ["results truncated due to limit"]
    assert await data("label/job/values", limit="2") == ["a", "b"]
    assert await data("label/job/values", limit="0") == ["a", "b"]


RANGE = {"start": "0", "end": "60", "step": "15"}


@pytest.mark.parametrize(
    ("path", "parameters", "status", "kind", "words"),
    [
        ("query", {}, 400, "bad_data", '"query": it is missing'),
        ("query", {"query": "heat{"}, 400, "bad_data", "character 6"),
        ("query", {"query": "irate(heat[5m])"}, 400, "bad_data", "irate is outside"),
        ("query", {"query": "heat", "time": "soon"}, 400, "bad_data", '"time"'),
        ("query", {"query": "heat", "time": "-1"}, 400, "bad_data", '"time"'),
        ("query", {"query": "heat", "time": "1e400"}, 400, "bad_data", '"time"'),
        ("query", {"query": "heat", "time": "nan"}, 400, "bad_data", '"time"'),
        ("query", {"query": "heat", "time": "2024-10-04T00:00:00"}, 400, "bad_data", '"time"'),
        ("query", {"query": "sum(calls_total)"}, 422, "execution", "a counter"),
        ("query_range", {"query": "heat"}, 400, "bad_data", '"start"'),
        ("query_range", {"query": "heat", **RANGE, "step": "0"}, 400, "bad_data", '"step"'),
        ("query_range", {"query": "heat", **RANGE, "step": "x"}, 400, "bad_data", '"step"'),
        ("query_range", {"query": "heat", **RANGE, "start": "99"}, 400, "bad_data", '"end"'),
        ("query_range", {"query": "heat", **RANGE, "end": "9e8"}, 422, "execution", "steps"),
        ("series", {}, 400, "bad_data", "no match[]"),
        ("series", {"match": "heat["}, 400, "bad_data", '"match[]"'),
        ("series", {"match": "heat offset 5m"}, 400, "bad_data", "no selector"),
        ("series", {"match": "sum(heat)"}, 400, "bad_data", "no selector"),
        ("labels", {"limit": "-1"}, 400, "bad_data", '"limit"'),
        ("label//values", {}, 400, "bad_data", "there is no"),
        ("nothing", {}, 400, "bad_data", "there is no /api/v1/nothing"),
    ],
)
async def test_errors_have_the_documented_shape(
    path: str, parameters: dict[str, str], status: int, kind: str, words: str
) -> None:
    found = await get(path, **parameters)
    assert found.status == status
    assert found.body.keys() == {"status", "errorType", "error"}
    assert (found.body["status"], found.body["errorType"]) == ("error", kind)
    assert words in found.body["error"]


class Broken(MemoryWindows):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def extents(self) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind"),
    [(StoreFailed("the disk is away."), "unavailable"), (TimeoutError(), "timeout")],
)
async def test_a_store_that_fails_is_an_answer(error: Exception, kind: str) -> None:
    found = await api(Broken(error)).answer("query", {"query": ["heat"]}, START_NS)
    assert (found.status, found.body["errorType"]) == (503, kind)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (0.1, "0.1"), (1e21, "1" + "0" * 21), (-2.5e-7, "-0.00000025")],
)
async def test_values_have_no_exponent(value: float, text: str) -> None:
    found = await data("query", query=repr(value))
    assert found["result"][1] == text
    assert math.isclose(float(text), value)


PARAMETERS = st.dictionaries(
    st.sampled_from(["query", "time", "start", "end", "step", "match[]", "limit"]),
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.sampled_from(["heat", "heat[5m]", "0", "1e9", "60", "5m", "-1", "{a=~'('}", "1/0"]),
        ),
        max_size=2,
    ),
)


@settings(max_examples=examples(1_000))
@given(st.one_of(st.sampled_from(ENDPOINTS), st.text(max_size=20)), PARAMETERS)
async def test_any_request_has_an_answer(path: str, parameters: dict[str, list[str]]) -> None:
    found = await api(store([])).answer(path.replace("<name>", "job"), parameters, START_NS)
    assert found.status in {200, 400, 422}
    json.dumps(found.body, allow_nan=False)
