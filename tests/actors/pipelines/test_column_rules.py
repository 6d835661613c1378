"""`validate` on columns refuses the rows that a JSON Schema refuses one by one, and says why."""

import time
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.column_rules import ColumnRules
from callboard.actors.pipelines.spec import DataPipeline, ErrorHandlingStrategy, PipelineStage
from tests.thoroughness import examples

NUMBERS: Final = (
    st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, width=32)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES: Final = NUMBERS | st.text(max_size=3) | st.booleans() | st.none()
FIELD: Final = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["number", "integer", "string", "boolean", "null"])
        | st.just(["string", "null"]),
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "maxLength": st.integers(0, 2),
        "title": st.just("x"),
    },
)
SCHEMAS: Final = st.fixed_dictionaries(
    {"properties": st.dictionaries(st.sampled_from("abc"), FIELD, max_size=3)},
    optional={
        "type": st.sampled_from(["object", "array"]),
        "required": st.lists(st.sampled_from("abc"), unique=True),
        "additionalProperties": st.just(False),
    },
)


def column(rows: int) -> st.SearchStrategy[Any]:
    kinds: list[tuple[str, st.SearchStrategy[Any]]] = [
        ("int64", st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)),
        ("uint64", st.integers(0, 2**64 - 1)),
        ("int8", st.integers(-128, 127)),
        ("float64", st.floats() | st.integers(-3, 3)),
        ("float32", st.floats(width=32)),
        ("bool", st.booleans()),
        ("U3", st.text(max_size=3, alphabet="ab1")),
        ("O", VALUES),
    ]
    return st.sampled_from(kinds).flatmap(
        lambda kind: st.lists(kind[1], min_size=rows, max_size=rows).map(
            lambda values: np.array(values, kind[0])
        )
    )


COLUMNS: Final = st.integers(1, 4).flatmap(
    lambda rows: st.dictionaries(st.sampled_from("abc"), column(rows), min_size=1, max_size=3)
)


def run(schema: Any, batch: DataBatch) -> tuple[list[tuple[int, tuple[str, ...]]], Any]:
    stage = PipelineStage(
        "v", "validate", configuration={"schema": schema},
        error_handling=ErrorHandlingStrategy(),
    )  # fmt: skip
    result = build_pipeline(DataPipeline("p", (stage,))).run_batch(batch)
    return [(letter.position, letter.reasons) for letter in result.letters], result.batch


@settings(max_examples=examples(600))
@given(SCHEMAS, COLUMNS)
def test_columns_are_refused_like_their_rows(schema: Any, columns: Any) -> None:
    batch = DataBatch.of_columns(columns)
    by_row = DataBatch.of_rows([batch.row(place) for place in range(batch.rows)])
    letters, after = run(schema, batch)
    wanted, rows = run(schema, by_row)
    assert letters == wanted
    assert (after is None) == (rows is None)
    if after is not None:
        assert after.rows == rows.rows


def test_right_columns_cost_no_look_at_their_rows() -> None:
    schema = {
        "type": "object",
        "required": ["price", "country"],
        "properties": {
            "price": {"type": "number", "minimum": 0, "exclusiveMaximum": 1e6},
            "count": {"type": "integer"},
            "country": {"enum": ["DE", "FR"]},
        },
    }
    rows = 100_000
    columns = {
        "price": np.linspace(0.0, 9e5, rows),
        "count": np.arange(rows),
        "country": np.resize(np.array(["DE", "FR"]), rows),
    }
    rules = ColumnRules(schema)
    assert not rules.suspects(columns, rows).any()
    columns["price"][7], columns["country"][9] = -1.0, "XX"
    began_s = time.perf_counter()
    letters, after = run(schema, DataBatch.of_columns(columns))
    assert time.perf_counter() - began_s < 5.0, "a row by itself takes 20 us and more"
    assert [(place, len(reasons)) for place, reasons in letters] == [(7, 1), (9, 1)]
    assert "price: -1.0 is less than the minimum of 0" in letters[0][1]
    assert after.rows == rows - 2


@pytest.mark.parametrize("schema", [{"type": "array"}, {"required": ["x"]}])
def test_what_no_row_fulfils_refuses_all(schema: Any) -> None:
    letters, after = run({"properties": {}, **schema}, DataBatch.of_columns({"a": np.arange(3)}))
    assert (len(letters), after.rows) == (3, 0)
