"""Each stage type over rows and over columns."""

from typing import Any

import numpy as np
import pytest

from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.core import PipelineExecutionResult
from callboard.actors.pipelines.spec import PipelineStage

from .parts import checked, pipeline_of


def ran(type_: str, rows: Any, **configuration: Any) -> PipelineExecutionResult:
    pipeline = pipeline_of(PipelineStage("s", type_, configuration=configuration))
    is_columns = isinstance(rows, dict)
    batch = DataBatch.of_columns(rows) if is_columns else DataBatch.of_rows(rows)
    result = pipeline.run_batch(batch)
    assert result.error is None
    checked(pipeline)
    return result


def rows_of(type_: str, rows: Any, **configuration: Any) -> list[Any]:
    batch = ran(type_, rows, **configuration).batch
    assert batch is not None
    return [batch.row(place) for place in range(batch.rows)]


def reasons(type_: str, rows: Any, **configuration: Any) -> list[tuple[str, ...]]:
    return [letter.reasons for letter in ran(type_, rows, **configuration).letters]


def test_parse_makes_rows_of_json_and_refuses_the_rest() -> None:
    wrong = [b"{", b"[1]", b"\xff", b"NaN", b"", b"[" * 100_000]
    result = ran("parse", [b'{"a": 1}', *wrong])
    assert result.batch is not None
    assert result.batch.data == ({"a": 1},)
    assert [letter.original for letter in result.letters] == wrong


def test_clean_strips_fills_casts_and_drops() -> None:
    rows = [
        {"name": " Ada ", "n": "3", "tag": None},
        {"name": "ADA", "n": "3"},
        {"name": "", "n": "4"},
        {"name": "Bob", "n": "x"},
    ]
    settings = {
        "lower": ["name"], "empty_is_null": True, "default": {"tag": "none"},
        "cast": {"n": "int"}, "drop_without": ["name"], "unique": ["name"],
    }  # fmt: skip
    assert rows_of("clean", rows, **settings) == [{"name": "ada", "n": 3, "tag": "none"}]
    assert reasons("clean", rows, **settings) == [("ValueError: the field 'n' is 'x', no int",)]


def test_clean_columns() -> None:
    columns = {"name": np.array([" Ada", "bob "]), "x": np.array([np.nan, 2.0])}
    found = rows_of("clean", columns, default={"x": 0}, cast={"x": "int"})
    assert found == [{"name": "Ada", "x": 0}, {"name": "bob", "x": 2}]


def test_validate_gives_every_reason() -> None:
    schema = {
        "type": "object",
        "required": ["id", "amount"],
        "properties": {"id": {"type": "integer"}, "amount": {"type": "number"}},
    }
    rows = [{"id": 1, "amount": 2.0}, {"id": "a", "amount": -1}, {"amount": 1}]
    rules = {"positive": "amount > 0"}
    assert rows_of("validate", rows, schema=schema, rules=rules) == rows[:1]
    wrong, missing = reasons("validate", rows, schema=schema, rules=rules)
    assert wrong == (
        "id: 'a' is not of type 'integer'",
        "positive: amount > 0 does not hold",
    )
    assert missing == ("the row: 'id' is a required property",)


def test_validate_columns() -> None:
    columns = {"x": np.array([1.0, np.inf, -1.0])}
    found = ran("validate", columns, finite=["x"], rules={"positive": "x > 0"})
    assert found.batch is not None
    assert found.batch.columns["x"].tolist() == [1.0]
    assert [letter.position for letter in found.letters] == [1, 2]


@pytest.mark.parametrize("as_columns", [True, False])
def test_filter_drops_under_a_reason(as_columns: bool) -> None:
    rows: Any = [{"n": 1, "c": "DE"}, {"n": 5, "c": "FR"}, {"n": 9, "c": "DE"}]
    if as_columns:
        rows = {"n": np.array([1, 5, 9]), "c": np.array(["DE", "FR", "DE"])}
    where = 'n > 1 and c in ["DE", "IT"] and not n == 7'
    assert rows_of("filter", rows, where=where) == [{"n": 9, "c": "DE"}]


@pytest.mark.parametrize("as_columns", [True, False])
def test_transform_computes_chooses_and_renames(as_columns: bool) -> None:
    rows: Any = [{"n": 1, "m": 2, "x": 0}, {"n": 3, "m": 4, "x": 0}]
    if as_columns:
        rows = {"n": np.array([1, 3]), "m": np.array([2, 4]), "x": np.zeros(2)}
    found = rows_of(
        "transform", rows, compute={"sum": "n + m"}, select=["n", "sum"], rename={"n": "first"}
    )
    assert found == [{"first": 1, "sum": 3}, {"first": 3, "sum": 7}]


def test_transform_refuses_the_rows_without_a_field() -> None:
    assert reasons("transform", [{"n": 1}, {}], compute={"m": "n * 2"}) == [
        ("the field 'n' is missing",)
    ]


@pytest.mark.parametrize("as_columns", [True, False])
def test_enrich_adds_what_a_table_knows(as_columns: bool) -> None:
    rows: Any = [{"c": "DE"}, {"c": "XX"}]
    if as_columns:
        rows = {"c": np.array(["DE", "XX"])}
    table = {"DE": "Germany"}
    found = rows_of(
        "enrich", rows, set={"v": 1}, lookup={"name": {"by": "c", "table": table, "default": "?"}}
    )
    assert found == [{"c": "DE", "v": 1, "name": "Germany"}, {"c": "XX", "v": 1, "name": "?"}]
    strict = {"name": {"by": "c", "table": table, "missing": "refuse"}}
    ((reason,),) = reasons("enrich", rows, lookup=strict)
    assert "nothing is known of" in reason


@pytest.mark.parametrize("as_columns", [True, False])
def test_aggregate_computes_all_functions(as_columns: bool) -> None:
    rows: Any = [{"g": "a", "n": 1}, {"g": "b", "n": 5}, {"g": "a", "n": 3}]
    if as_columns:
        rows = {"g": np.array(["a", "b", "a"]), "n": np.array([1, 5, 3])}
    compute = {
        "c": "count()", "s": "sum(n)", "lo": "min(n)", "hi": "max(n)", "m": "avg(n)",
        "f": "first(n)", "l": "last(n)",
    }  # fmt: skip
    first, second = rows_of("aggregate", rows, by=["g"], compute=compute)
    assert first == {"g": "a", "c": 2, "s": 4, "lo": 1, "hi": 3, "m": 2.0, "f": 1, "l": 3}
    assert second["c"] == 1


def test_format_writes_lines() -> None:
    rows = [{"name": "a,b", "n": 1.2345, "t": 0}]
    assert rows_of("format", rows, round={"n": 2}, times=["t"]) == [
        {"name": "a,b", "n": 1.23, "t": "1970-01-01T00:00:00+00:00"}
    ]
    assert rows_of("format", rows, **{"as": "csv", "fields": ["name", "n"]}) == [b'"a,b",1.2345']
    assert rows_of("format", rows, **{"as": "text", "template": "$name!"}) == [b"a,b!"]
    assert rows_of("format", [{"a": 1}], **{"as": "json"}) == [b'{"a": 1}']
    assert reasons("format", [{"a": float("nan")}], **{"as": "json"})


@pytest.mark.parametrize("as_columns", [True, False])
def test_route_names_the_first_route_and_drops_without_one(as_columns: bool) -> None:
    rows: Any = [{"n": 1}, {"n": 5}, {"n": 9}]
    if as_columns:
        rows = {"n": np.array([1, 5, 9])}
    routes = {"big": "n > 8", "some": "n > 4"}
    found = rows_of("route", rows, routes=routes)
    assert found == [{"n": 5, "route": "some"}, {"n": 9, "route": "big"}]
    assert rows_of("route", rows, routes=routes, otherwise="rest")[0]["route"] == "rest"


def test_rows_that_have_no_fields_are_refused_with_a_reason() -> None:
    ((reason,),) = reasons("transform", [7], compute={"m": "n"})
    assert "has no fields" in reason
