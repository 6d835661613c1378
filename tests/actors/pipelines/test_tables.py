"""Tables of Arrow as batches: counted, cut, routed, judged and stored like other columns."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.pipelines.batch import DataBatch, joined
from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.core import Outcome
from callboard.actors.pipelines.letters import row_of
from callboard.actors.pipelines.registry import StageEffects
from callboard.actors.pipelines.running.outgoing import decode_batch, encode_batch
from callboard.actors.pipelines.spec import DataPipeline, PipelineStage
from callboard.messages.core.errors import UsageError
from tests.thoroughness import examples

from .parts import types_with

ROWS = {
    "id": [1, 2, 3, 4],
    "price": [1.5, None, 3.0, -1.0],
    "country": ["DE", "FR", "DE", "IT"],
}


def polars_table(rows: Any) -> Any:
    return pytest.importorskip("polars").DataFrame(rows)


def pyarrow_table(rows: Any) -> Any:
    return pytest.importorskip("pyarrow").table(rows)


def record_batch(rows: Any) -> Any:
    return pytest.importorskip("pyarrow").RecordBatch.from_pydict(rows)


def stream(rows: Any) -> Any:
    """Nothing but the capsule, as other libraries have it."""

    class Stream:
        def __init__(self, table: Any) -> None:
            self._table = table

        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return self._table.__arrow_c_stream__()

    return Stream(polars_table(rows))


MAKERS = [polars_table, pyarrow_table, record_batch, stream]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_rows_are_counted_cut_joined_and_split(make: Any) -> None:
    batch = DataBatch.of_table(make(ROWS), source="s", position=40)
    assert (batch.rows, len(batch), batch.is_rows) == (4, 4, False)
    assert batch.row(1) == {"id": 2, "price": None, "country": "FR"}
    part = batch.part(1, 3)
    assert (part.rows, part.row(0)["id"], part.origin(1)) == (2, 2, 2)
    assert batch.kept(np.array([True, False, False, True])).row(1)["id"] == 4
    assert batch.take([3, 3]).rows == 2
    parts = batch.split(lambda row: str(row["country"]))
    assert {key: each.rows for key, each in parts.items()} == {"DE": 2, "FR": 1, "IT": 1}
    again = joined([parts["IT"], parts["DE"]])
    assert [again.row(place)["id"] for place in range(3)] == [4, 1, 3]
    assert again.origins is not None
    assert again.origins.tolist() == [3, 0, 2]
    assert batch.take(()).rows == 0


def test_columns_are_what_numpy_makes_of_them(make: Any) -> None:
    columns = DataBatch.of_table(make(ROWS)).columns
    assert columns["id"].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(columns["price"], [1.5, np.nan, 3.0, -1.0])
    assert columns["country"].dtype.kind == "U"
    assert DataBatch.of_table(make({"a": ["x", None]})).columns["a"].dtype.hasobject


def run(batch: DataBatch, *stages: PipelineStage, types: Any = None) -> Any:
    return build_pipeline(DataPipeline("p", stages), types).run_batch(batch)


def test_standard_stages_take_a_table_and_letters_have_its_rows(make: Any) -> None:
    schema = {"properties": {"price": {"type": "number", "minimum": 0}}}
    rows = {**ROWS, "at": [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (1, 2, 3, 4)]}
    result = run(
        DataBatch.of_table(make(rows), source="s", position=40),
        PipelineStage("valid", "validate", configuration={"schema": schema}),
        PipelineStage("some", "filter", configuration={"where": "country == 'DE'"}),
        PipelineStage("more", "transform", configuration={"compute": {"twice": "price * 2"}}),
    )
    assert result.batch.columns["twice"].tolist() == [3.0, 6.0]
    assert {letter.position for letter in result.letters} == {41, 43}
    row = row_of(result.letters[1])
    assert (row["id"], row["price"], row["country"]) == (4, -1.0, "IT")
    assert str(row["at"]).startswith("2026-01-04T00:00:00")


def test_a_declared_schema_of_columns_is_checked(make: Any) -> None:
    stage = PipelineStage(
        "s", "filter", configuration={"where": "id > 0"},
        input_schema={"columns": {"id": "int64", "country": "str"}},
    )  # fmt: skip
    assert run(DataBatch.of_table(make(ROWS)), stage).batch.rows == 4
    wrong = PipelineStage(
        "s", "filter", configuration={"where": "id > 0"}, input_schema={"columns": {"id": "str"}}
    )
    assert run(DataBatch.of_table(make(ROWS)), wrong).outcome is not Outcome.RETRY
    assert len(run(DataBatch.of_table(make(ROWS)), wrong).letters) == 4


class Own:
    """A stage of a user, which gives a table; and fails on one row."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def process(self, batch: DataBatch, effects: StageEffects) -> DataBatch:
        rows = [batch.row(place) for place in range(batch.rows)]
        if any(row["id"] == 3 for row in rows):
            raise ValueError("three")
        names = rows[0]
        if names["id"] == 4 and self.make is None:
            names = {"other": 1}
            return batch.with_data(polars_table({"other": [1] * len(rows)}))
        return batch.with_data(
            (self.make or polars_table)({name: [row[name] for row in rows] for name in names})
        )


@pytest.mark.parametrize("mixes", [False, True])
def test_a_stage_of_ones_own_gives_tables_and_fails_by_row(make: Any, mixes: bool) -> None:
    types = types_with(own=Own(None if mixes else make).process)
    result = run(DataBatch.of_table(make(ROWS)), PipelineStage("o", "own"), types=types)
    assert result.outcome is Outcome.DONE
    if mixes:  # The parts do not fit together: no row is lost, and nothing raises.
        assert len(result.letters) == 4
    else:
        assert [result.batch.row(place)["id"] for place in range(3)] == [1, 2, 4]
        assert ["three" in letter.reasons[0] for letter in result.letters] == [True]


def test_a_table_is_stored_as_columns(make: Any) -> None:
    batch = DataBatch.of_table(make(ROWS), source="s", position=7)
    back = decode_batch(encode_batch(batch))
    assert (back.rows, back.source, back.position) == (4, "s", 7)
    assert back.columns["country"].tolist() == ROWS["country"]


def test_what_is_no_table_is_refused() -> None:
    for wrong in ({}, (), 3, object()):
        with pytest.raises(UsageError, match="no content of a batch"):
            DataBatch.of_table(wrong)
    pyarrow = pytest.importorskip("pyarrow")
    twice = pyarrow.table([[1], [2]], names=["a", "a"])
    with pytest.raises(UsageError, match="two columns"):
        DataBatch.of_table(twice)


VALUES = st.integers(-5, 5) | st.none()


@settings(max_examples=examples(100))
@given(st.lists(VALUES, max_size=12), st.data())
def test_a_table_is_cut_like_its_rows(values: list[Any], data: st.DataObject) -> None:
    polars = pytest.importorskip("polars")
    table = DataBatch.of_table(polars.DataFrame({"a": values}, schema={"a": polars.Int64}))
    rows = DataBatch.of_rows([{"a": value} for value in values])
    for _ in range(3):
        places = data.draw(st.lists(st.integers(0, max(0, rows.rows - 1)), max_size=rows.rows * 2))
        table, rows = table.take(places), rows.take(places)
        assert [table.row(place) for place in range(table.rows)] == list(rows.data)
        assert [table.origin(n) for n in range(table.rows)] == [
            rows.origin(n) for n in range(rows.rows)
        ]
