"""A process that runs a pipeline on files and an SQLite store, until it is killed."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

from callboard.actors.pipelines.core import Pipeline
from callboard.actors.pipelines.running.figures import PipelineLimits, RunState
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.actors.pipelines.running.sinks import FileSink, TableSink
from callboard.actors.pipelines.running.sources import FileSource
from callboard.actors.pipelines.spec import PipelineStage
from callboard.runtime.stores.sqlite import SqliteReadModelStore

from ..parts import pipeline_of

LIMITS: Final = PipelineLimits(batch_rows=20, idle_s=0.05, credit_batches=4)


def pipeline() -> Pipeline:
    """Rows that are parsed, refused, dropped, and added up by hundreds."""
    return pipeline_of(
        PipelineStage("parse", "parse"),
        PipelineStage("some", "filter", configuration={"where": "id % 7 != 3"}),
        PipelineStage(
            "total",
            "aggregate",
            configuration={
                "compute": {"rows": "count()", "sum": "sum(id)", "first": "first(id)"},
                "every_rows": 100,
            },
        ),
    )


def running(folder: Path, sink: str) -> PipelineRunner:
    """The runner on the files of a folder."""
    made: Any = TableSink(["first"]) if sink == "table" else FileSink(folder / "out")
    store = SqliteReadModelStore(folder / "pipelines.db")
    return PipelineRunner(pipeline(), FileSource(str(folder / "in.jsonl")), made, store,
                          limits=LIMITS)  # fmt: skip


async def main() -> None:
    """Run until the end or a kill."""
    runner = running(Path(sys.argv[1]), sys.argv[2])
    async with runner:
        os.write(1, b"ready\n")
        await runner.wait(lambda now: now.state is RunState.ENDED, 100.0)
        os.write(1, b"ended\n")


if __name__ == "__main__":
    asyncio.run(main())
