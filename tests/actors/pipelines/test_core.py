"""What becomes of rows: policies, dead letters, states, and accounts that always add up."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.pipelines.accounts import PipelineAccount
from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.core import Outcome, Pipeline
from callboard.actors.pipelines.errors import PipelineStopped, StageFailed
from callboard.actors.pipelines.registry import StageEffects
from callboard.actors.pipelines.spec import (
    ErrorHandlingStrategy,
    ErrorPolicy,
    MonitoringConfiguration,
    PipelineStage,
)
from callboard.messages.storage.errors import StoreDamaged
from tests.thoroughness import examples

from .parts import checked, pipeline_of, types_with

ROWS = tuple({"n": n} for n in range(10))


def fails_on(*wrong: int) -> Any:
    def process(batch: DataBatch, _effects: StageEffects) -> DataBatch:
        for row in batch.data:
            if row["n"] in wrong:
                raise ValueError(f"{row['n']} is wrong")
        return batch

    return process


def run(pipeline: Pipeline, rows: Any = ROWS) -> list[int]:
    result = checked(pipeline).run_batch(DataBatch.of_rows(rows, source="here", position=100))
    checked(pipeline)
    assert result.batch is not None, result.error
    return [row["n"] for row in result.batch.data]


def one(process: Any, policy: ErrorPolicy, **fields: Any) -> Pipeline:
    return pipeline_of(
        PipelineStage("first", "clean"),
        PipelineStage(
            "wrong", "mine", error_handling=ErrorHandlingStrategy(policy, **fields)
        ),
        PipelineStage("last", "clean"),
        types=types_with(mine=process),
    )  # fmt: skip


def test_a_row_on_which_a_stage_raises_takes_no_other_along() -> None:
    pipeline = one(fails_on(3, 7), ErrorPolicy.DEAD_LETTER)
    assert run(pipeline) == [0, 1, 2, 4, 5, 6, 8, 9]
    account = pipeline.account.stages["wrong"]
    assert (account.rows_in, account.rows_out, account.letters) == (10, 8, 2)
    assert account.failures > 2
    assert pipeline.account.letters_pending == 2


def test_a_letter_has_the_original_the_place_and_the_reason() -> None:
    pipeline = one(fails_on(3), ErrorPolicy.DEAD_LETTER)
    originals = [f"line {n}".encode() for n in range(10)]
    batch = DataBatch.of_rows(ROWS, source="file", position=100, originals=originals)
    (letter,) = pipeline.run_batch(batch, now=5.0, execution="e/1").letters
    assert (letter.original, letter.source, letter.position) == (b"line 3", "file", 103)
    assert (letter.stage, letter.schema_version, letter.attempt) == ("wrong", 1, 1)
    assert "3 is wrong" in letter.reasons[0]
    assert (letter.execution, letter.at) == ("e/1", 5.0)


def test_drop_counts_the_reason() -> None:
    pipeline = one(fails_on(3), ErrorPolicy.DROP, reason="odd one")
    assert len(run(pipeline)) == 9
    assert pipeline.account.stages["wrong"].dropped == {"odd one": 1}


def test_fail_stops_before_the_batch_and_changes_nothing() -> None:
    pipeline = one(fails_on(3), ErrorPolicy.FAIL)
    before = pipeline.account.encode()
    result = pipeline.run_batch(DataBatch.of_rows(ROWS))
    assert result.outcome is Outcome.STOPPED
    assert isinstance(result.error, StageFailed)
    assert "'wrong'" in result.error.message
    assert pipeline.account.encode() == before


def test_retry_asks_for_the_batch_again_and_then_decides() -> None:
    pipeline = one(fails_on(3), ErrorPolicy.RETRY, attempts_max=3, then=ErrorPolicy.DROP)
    batch = DataBatch.of_rows(ROWS)
    for attempt in (1, 2):
        result = pipeline.run_batch(batch, attempt=attempt)
        assert result.outcome is Outcome.RETRY
        assert result.retry is not None
        assert (result.retry.stage, result.retry.attempt) == ("wrong", attempt)
    assert pipeline.run_batch(batch, attempt=3).outcome is Outcome.DONE
    assert checked(pipeline).account.stages["wrong"].dropped == {"stage_failed": 1}


@pytest.mark.parametrize(
    ("process", "problem"),
    [
        (lambda batch, _: batch.take([0] * 20), "gave 20"),
        (lambda batch, _: batch.data, "no batch"),
        (lambda batch, effects: (effects.drop("twice", 99), batch)[1], "gave 10"),
    ],
    ids=["more rows", "no batch", "too many dropped"],
)
def test_a_wrong_output_is_a_failure_of_the_stage(process: Any, problem: str) -> None:
    result = one(process, ErrorPolicy.FAIL).run_batch(DataBatch.of_rows(ROWS))
    assert problem in str(result.error)
    pipeline = one(process, ErrorPolicy.DEAD_LETTER)
    pipeline.run_batch(DataBatch.of_rows(ROWS))
    assert checked(pipeline).account.stages["wrong"].failures > 0


def test_other_columns_than_declared_are_refused() -> None:
    pipeline = pipeline_of(
        PipelineStage("s", "mine", output_schema={"columns": {"a": "float64"}}),
        types=types_with(mine=lambda batch, _: batch.with_data({"b": batch.columns["a"]})),
        strategy=ErrorHandlingStrategy(ErrorPolicy.FAIL),
    )
    result = pipeline.run_batch(DataBatch.of_columns({"a": np.zeros(3)}))
    assert "column 'a' is missing" in str(result.error)


def test_rows_left_out_without_a_reason_count_under_the_type() -> None:
    pipeline = pipeline_of(
        PipelineStage("s", "mine"), types=types_with(mine=lambda batch, _: batch.part(0, 4))
    )
    assert run(pipeline) == [0, 1, 2, 3]
    assert pipeline.account.stages["s"].dropped == {"mine": 6}


def test_over_the_cap_the_pipeline_stops_and_says_why() -> None:
    pipeline = pipeline_of(
        PipelineStage("s", "mine"),
        types=types_with(mine=fails_on(3)),
        monitoring=MonitoringConfiguration(letters_share_max=0.02, letters_share_rows=10),
    )
    result = pipeline.run_batch(DataBatch.of_rows(ROWS, source="here", position=7))
    assert isinstance(result.error, PipelineStopped)
    for part in ("1 of the last 10 rows", "2.0%", "here:7", "3 is wrong"):
        assert part in result.error.message
    assert checked(pipeline).account.read == 0
    counted = pipeline_of(
        PipelineStage("s", "mine"),
        types=types_with(mine=fails_on(3)),
        monitoring=MonitoringConfiguration(letters_max=2, letters_share_max=1.0),
    )
    outcomes = [counted.run_batch(DataBatch.of_rows(ROWS)).outcome for _ in range(3)]
    assert outcomes == [Outcome.DONE, Outcome.DONE, Outcome.STOPPED]


def test_rows_that_a_stage_keeps_are_buffered_until_the_end() -> None:
    pipeline = pipeline_of(
        PipelineStage(
            "sum", "aggregate", configuration={"compute": {"n": "sum(n)"}, "every_rows": 15}
        )
    )
    assert run(pipeline) == []
    assert pipeline.account.stages["sum"].buffered == 10
    assert run(pipeline) == [90]
    assert pipeline.account.stages["sum"].buffered == 0
    run(pipeline, ROWS[:2])
    flushed = pipeline.flush()
    assert flushed.batch is not None
    assert flushed.batch.data == ({"n": 1},)
    account = checked(pipeline).account.stages["sum"]
    assert (account.rows_in, account.passed, account.rows_out) == (22, 22, 2)


def test_an_account_survives_its_encoding_and_wrong_bytes_are_damage() -> None:
    pipeline = one(fails_on(3), ErrorPolicy.DEAD_LETTER)
    run(pipeline)
    data = pipeline.account.encode()
    assert PipelineAccount.decode(data).to_data() == pipeline.account.to_data()
    for end in range(len(data)):
        with pytest.raises(StoreDamaged):
            PipelineAccount.decode(data[:end])


# --- always -------------------------------------------------------------------------------------

FATE = st.sampled_from(["pass", "drop", "refuse", "raise", "twice", "silent"])
STAGE = st.tuples(
    st.lists(FATE, min_size=1, max_size=5),
    st.sampled_from(list(ErrorPolicy)),
    st.sampled_from([ErrorPolicy.DROP, ErrorPolicy.DEAD_LETTER, ErrorPolicy.FAIL]),
)


def stage_of(fates: list[str]) -> Any:
    def process(batch: DataBatch, effects: StageEffects) -> DataBatch:
        kept: list[int] = []
        for place, row in enumerate(batch.data):
            fate: str = fates[row["n"] % len(fates)]
            match fate:
                case "raise":
                    raise RuntimeError("as asked")
                case "drop":
                    effects.drop("asked")
                case "refuse":
                    effects.refuse(place, "asked")
                case "twice":
                    kept += [place, place]
                case "pass":
                    kept.append(place)
                case _:
                    pass
        return batch.take(kept)

    return process


@settings(max_examples=examples(400))
@given(st.lists(STAGE, min_size=1, max_size=4), st.lists(st.integers(0, 12), max_size=5))
def test_every_row_has_one_fate_whatever_stages_do(stages: list[Any], batches: list[int]) -> None:
    mine = {f"t{n}": stage_of(fates) for n, (fates, _, _) in enumerate(stages)}
    pipeline = pipeline_of(
        *(
            PipelineStage(
                f"s{n}",
                f"t{n}",
                error_handling=ErrorHandlingStrategy(policy, then=then, attempts_max=2),
            )
            for n, (_, policy, then) in enumerate(stages)
        ),
        PipelineStage(
            "sum", "aggregate", configuration={"compute": {"n": "count()"}, "every_rows": 7}
        ),
        types=types_with(**mine),
    )
    read = 0
    for size in batches:
        batch = DataBatch.of_rows([{"n": n} for n in range(size)])
        result = pipeline.run_batch(batch)
        if result.outcome is Outcome.RETRY:
            checked(pipeline)
            result = pipeline.run_batch(batch, attempt=2)
        assert result.outcome is not Outcome.RETRY
        checked(pipeline)
        read += size * (result.outcome is Outcome.DONE)
        assert pipeline.account.read == read
    pipeline.flush()
    assert checked(pipeline).account.stages["sum"].buffered == 0


def test_columns_that_a_stage_needs_are_checked_before_it_runs() -> None:
    pipeline = pipeline_of(
        PipelineStage(
            "s",
            "filter",
            input_schema={"columns": {"a": "int64"}},
            configuration={"where": "a > 0"},
        ),
        strategy=ErrorHandlingStrategy(ErrorPolicy.FAIL),
    )
    result = pipeline.run_batch(DataBatch.of_columns({"a": np.ones(3)}))
    assert "'a' is float64, not int64" in str(result.error)
