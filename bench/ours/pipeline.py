"""`pipeline`: what the mechanism costs, and rows from a source into a durable table.

`stage_us` is the time of one stage that does nothing, for one batch: accounts, clock and policy
included. `call_us` is a plain loop over the same functions. `rows_per_s` are lines of JSON through
parse, validate, filter, transform and clean, stored exactly once. `column_rows_per_s` are rows
as columns through a rule, a condition and a computed column, in memory.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.loop import run_on_fastest_loop
from bench.outcome import Outcome, Params
from bench.stores import store_for
from bench.timing import timed
from bench.workload import column_values, pipeline_check, pipeline_line
from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.build import build_pipeline
from callboard.actors.pipelines.core import Pipeline
from callboard.actors.pipelines.registry import (
    StageEffects,
    StageRegistry,
    StageSettings,
    StageType,
)
from callboard.actors.pipelines.running.figures import PipelineLimits, RunState
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.actors.pipelines.running.sinks import TableSink, read_table
from callboard.actors.pipelines.running.sources import MemorySource
from callboard.actors.pipelines.spec import DataPipeline, MonitoringConfiguration, PipelineStage
from callboard.runtime.hosting.memory import tune_gc
from callboard.runtime.stores.choose import read_model_store

__all__ = ["run"]

BATCH_ROWS: Final = 1_000
COLUMN_BATCH_ROWS: Final = 64_000
DEADLINE_S: Final = 500.0
NO_CAP: Final = MonitoringConfiguration(letters_max=10**9, letters_share_max=1.0)


class Nothing:
    """A stage that does nothing."""

    def process(self, batch: DataBatch, _effects: StageEffects) -> DataBatch:
        """Pass the batch on."""
        return batch


def _nothing(_stage: PipelineStage, _settings: StageSettings) -> Nothing:
    return Nothing()


def run(params: Params) -> Outcome:
    """Run batches that nothing happens to, then rows, then columns."""
    tune_gc()
    stage_us, call_us = _empty_stages(params)
    column_rows_per_s, column_sum = _columns(params)
    with (
        tempfile.TemporaryDirectory(prefix="callboard-pipeline-") as folder,
        store_for(params, Path(folder)) as (url, _),
    ):
        rows_per_s, rows, total = run_on_fastest_loop(_durable(params, url))
    return Outcome(
        {
            "stage_us": stage_us,
            "call_us": call_us,
            "rows_per_s": rows_per_s,
            "column_rows_per_s": column_rows_per_s,
        },
        pipeline_check(params["batches"], rows, total, column_sum),
        ("5 stages; 1,000 rows in each durable batch, 64,000 in each batch of columns",),
    )


def _empty_stages(params: Params) -> tuple[float, float]:
    types = StageRegistry((StageType("nothing", _nothing),))
    names = [f"stage {number}" for number in range(params["stages"])]
    spec = DataPipeline("bench", tuple(PipelineStage(name, "nothing") for name in names))
    pipeline = build_pipeline(spec, types, clock=time.perf_counter_ns)
    batch, batches = DataBatch.of_rows([{"n": 1}] * 100), params["batches"]
    for _ in range(min(1_000, batches)):
        pipeline.run_batch(batch)
    pipeline = build_pipeline(spec, types, clock=time.perf_counter_ns)
    with timed() as through:
        for _ in range(batches):
            pipeline.run_batch(batch)
    functions = [stage.processor.process for stage in pipeline.stages]
    effects = StageEffects()
    with timed() as plain:
        for _ in range(batches):
            current = batch
            for function in functions:
                current = function(current, effects)
    last = pipeline.account.stages[names[-1]]
    if last.batches != batches or list(pipeline.account.problems()):
        raise AssertionError("the accounts do not add up")
    each = batches * len(names)
    return through.elapsed_s / each * 1e6, plain.elapsed_s / each * 1e6


def _columns(params: Params) -> tuple[float, int]:
    spec = DataPipeline(
        "columns",
        (
            PipelineStage("check", "validate", configuration={"rules": {"known": "n >= 0"}}),
            PipelineStage("some", "filter", configuration={"where": "n % 4 != 1"}),
            PipelineStage("more", "transform", configuration={"compute": {"m": "n * 3 + 1"}}),
        ),
        monitoring=NO_CAP,
    )
    pipeline = build_pipeline(spec, clock=time.perf_counter_ns)
    values = column_values(params["column_rows"])
    batches = [
        DataBatch.of_columns({"n": values[start : start + COLUMN_BATCH_ROWS]})
        for start in range(0, len(values), COLUMN_BATCH_ROWS)
    ]
    total = 0
    with timed() as taken:
        for batch in batches:
            result = pipeline.run_batch(batch)
            if result.batch is None:
                raise AssertionError(result.error)
            total += int(np.sum(result.batch.columns["m"]))
    return taken.per_s(len(values)), total


def _of_rows() -> Pipeline:
    schema = {
        "type": "object",
        "required": ["id", "amount"],
        "properties": {"id": {"type": "integer"}, "amount": {"type": "number"}},
    }
    spec = DataPipeline(
        "bench",
        (
            PipelineStage("parse", "parse", output_schema=schema),
            PipelineStage("check", "validate", configuration={"rules": {"known": "id >= 0"}}),
            PipelineStage("some", "filter", configuration={"where": "id % 4 != 1"}),
            PipelineStage("more", "transform", configuration={"compute": {"m": "amount * 3 + 1"}}),
            PipelineStage("last", "clean"),
        ),
        monitoring=NO_CAP,
    )
    return build_pipeline(spec, clock=time.perf_counter_ns)


async def _durable(params: Params, url: str) -> tuple[float, int, int]:
    lines = [json.dumps(pipeline_line(number)).encode() for number in range(params["rows"])]
    store = read_model_store(url, durability="full")
    runner = PipelineRunner(
        _of_rows(),
        MemorySource(lines),
        TableSink(["id"]),
        store,
        limits=PipelineLimits(batch_rows=BATCH_ROWS),
    )
    try:
        with timed() as taken:
            await runner.start()
            await runner.wait(lambda now: now.state is RunState.ENDED, DEADLINE_S)
        await runner.close()
        rows, total, after = 0, 0, ""
        while page := await asyncio.to_thread(_page, store, after):
            rows += len(page)
            total += sum(row["m"] for _, row in page)
            after = page[-1][0]
    finally:
        store.close()
    return taken.per_s(len(lines)), rows, total


def _page(store: Any, after: str) -> list[tuple[str, Any]]:
    return read_table(store, "bench", after=after, limit=10_000)
