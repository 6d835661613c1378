"""On Ray: the process of a pipeline is killed, and the next one goes on where it was."""

import asyncio
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

import callboard
from callboard.actors.kernel.props import props
from callboard.actors.pipelines.running.actor import PipelineActor, PipelineView, QueryPipeline
from callboard.actors.pipelines.running.figures import PipelineLimits, RunState
from callboard.actors.pipelines.running.sinks import TableSink, read_table
from callboard.actors.pipelines.running.sources import FileSource
from callboard.actors.pipelines.spec import DataPipeline, MonitoringConfiguration, PipelineStage
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Ref
from callboard.runtime.api.system import System
from callboard.runtime.stores.sqlite import SqliteReadModelStore

from ..parts import lines

ROWS: Final = 4_000
DEADLINE_S: Final = 90.0


async def killed_once(system: System, ref: Ref[Any]) -> PipelineView:
    """Kill the host of a pipeline once, and give the view of its end."""
    killed = 0
    async with asyncio.timeout(DEADLINE_S):
        while True:
            await asyncio.sleep(0.05)
            try:
                view = await system.ask(QueryPipeline(), ref, timeout_s=5.0)
            except CallboardError:
                continue
            if view.state is RunState.ENDED:
                assert killed
                return view
            if view.batches > 20 and not killed:
                killed = (await system.view()).hosts[1].pid
                psutil.Process(killed).kill()


@pytest.mark.ray
@pytest.mark.soak
async def test_kill_9_of_its_host_loses_and_repeats_nothing(tmp_path: Path) -> None:
    folder = str(tmp_path)
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines(ROWS)) + b"\n")
    spec = DataPipeline(
        "orders",
        (
            PipelineStage("parse", "parse"),
            PipelineStage(
                "sum",
                "aggregate",
                configuration={"compute": {"n": "count()", "id": "sum(id)"}, "every_rows": 30},
            ),
        ),
        monitoring=MonitoringConfiguration(letters_share_max=1.0),
    )
    actor = props(
        PipelineActor, spec, lambda: FileSource(f"{folder}/in.jsonl"), TableSink,
        lambda: SqliteReadModelStore(f"{folder}/store.db"),
        limits=PipelineLimits(batch_rows=10, idle_s=0.05),
    )  # fmt: skip
    async with callboard.start(engine="ray", hosts=1) as system:
        ref = await system.spawn(actor)
        view = await killed_once(system, ref)
    assert view.account["read"] == ROWS
    store = SqliteReadModelStore(f"{folder}/store.db")
    rows = [row for _, row in read_table(store, "orders", limit=100_000)]
    store.close()
    good = [n for n in range(ROWS) if n % 10 != 5]
    assert (sum(row["n"] for row in rows), sum(row["id"] for row in rows)) == (len(good), sum(good))
