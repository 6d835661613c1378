"""A pipeline as an actor: supervised, on a pool, and with rows that others send."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

import callboard
from callboard.actors.kernel.props import props
from callboard.actors.pipelines.running.actor import (
    PipelineActor,
    QueryPipeline,
    ReceivedSource,
    ResumePipeline,
    SendRows,
)
from callboard.actors.pipelines.running.figures import PipelineLimits, RunState
from callboard.actors.pipelines.running.remote import StageAgent
from callboard.actors.pipelines.running.sinks import TableSink, read_table
from callboard.actors.pipelines.running.sources import MemorySource
from callboard.actors.pipelines.spec import (
    DataPipeline,
    MonitoringConfiguration,
    PipelineStage,
    StagePlacement,
)
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.stores.sqlite import SqliteReadModelStore

from ..parts import NO_CAP, lines

LIMITS: Final = PipelineLimits(batch_rows=10, idle_s=0.01, credit_batches=4)
DEADLINE_S: Final = 20.0


def spec_of(*stages: PipelineStage, monitoring: MonitoringConfiguration = NO_CAP) -> DataPipeline:
    return DataPipeline("orders", stages, monitoring=monitoring)


def rows_in(path: str) -> list[Any]:
    """The rows of the table in a store."""
    store = SqliteReadModelStore(path)
    try:
        return [row for _, row in read_table(store, "orders")]
    finally:
        store.close()


async def view_when(system: Any, ref: Any, is_so: Any) -> Any:
    """The first view of a pipeline for which this is so."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            view = await system.ask(QueryPipeline(), ref)
            if is_so(view):
                return view
            await asyncio.sleep(0.01)


async def test_an_actor_runs_it_and_shows_it(tmp_path: Path) -> None:
    store = str(tmp_path / "pipelines.db")
    actor = props(
        PipelineActor, spec_of(PipelineStage("parse", "parse")), lambda: MemorySource(lines(40)),
        lambda: TableSink(["id"]), lambda: SqliteReadModelStore(store), limits=LIMITS,
    )  # fmt: skip
    async with callboard.start(engine="inline", hosts=1) as system:
        ref = await system.spawn(actor)
        view = await view_when(system, ref, lambda view: view.state is RunState.ENDED)
    assert (view.account["delivered"], view.account["letters_pending"]) == (36, 4)
    assert len(rows_in(store)) == 36


async def test_a_stopped_pipeline_answers_and_is_resumed() -> None:
    strict = MonitoringConfiguration(letters_share_max=0.01, letters_share_rows=25)
    actor = props(
        PipelineActor, spec_of(PipelineStage("parse", "parse"), monitoring=strict),
        lambda: MemorySource(lines(40)), TableSink, MemoryReadModelStore, limits=LIMITS,
    )  # fmt: skip
    async with callboard.start(engine="inline", hosts=1) as system:
        ref = await system.spawn(actor)
        view = await view_when(system, ref, lambda view: view.state is RunState.STOPPED)
        assert "dead letters" in view.reason
        assert (await system.ask(ResumePipeline(), ref)).was_stopped
        await view_when(system, ref, lambda view: view.account["read"] == 40)


@pytest.mark.parametrize("type_", ["filter", "validate"])
async def test_a_stage_on_a_pool_keeps_order_and_accounts(type_: str, tmp_path: Path) -> None:
    store = str(tmp_path / "pipelines.db")
    check = PipelineStage(
        "check", type_, placement=StagePlacement.POOL,
        configuration={"where": "id % 3 != 0"} if type_ == "filter"
        else {"rules": {"no third": "id % 3 != 0"}},
    )  # fmt: skip
    total = PipelineStage(
        "total", "aggregate", configuration={"compute": {"n": "count()", "last": "last(id)"}}
    )
    actor = props(
        PipelineActor, spec_of(PipelineStage("parse", "parse"), check, total),
        lambda: MemorySource(lines(60)), TableSink, lambda: SqliteReadModelStore(store),
        limits=LIMITS,
    )  # fmt: skip
    async with callboard.start(engine="inline", hosts=2) as system:
        await system.pool(StageAgent, size=3)
        ref = await system.spawn(actor)
        view = await view_when(system, ref, lambda view: view.state is RunState.ENDED)
    rows = rows_in(store)
    good = [n for n in range(60) if n % 10 != 5 and n % 3]
    assert [row["last"] for row in rows] == sorted(row["last"] for row in rows)
    assert sum(row["n"] for row in rows) == len(good)
    fates = view.account["stages"]["check"]
    gone = 54 - len(good)
    assert (fates["dropped"], fates["letters"]) == (
        ({"filtered": gone}, 0) if type_ == "filter" else ({}, gone)
    )


async def test_rows_that_are_sent_are_durable_when_the_answer_comes(tmp_path: Path) -> None:
    store = str(tmp_path / "pipelines.db")
    actor = props(
        PipelineActor, spec_of(PipelineStage("c", "clean")), ReceivedSource,
        lambda: TableSink(["id"]), lambda: SqliteReadModelStore(store), limits=LIMITS,
    )  # fmt: skip
    async with callboard.start(engine="inline", hosts=1) as system:
        ref = await system.spawn(actor)

        async def send(sender: str, sequence: int, *ids: int) -> int:
            rows = tuple({"id": id_} for id_ in ids)
            request = SendRows(sender=sender, sequence=sequence, rows=rows)
            return int((await system.ask(request, ref, timeout_s=DEADLINE_S)).sequence)

        assert await send("a", 1, 1, 2) == 1
        assert [row["id"] for row in rows_in(store)] == [1, 2]
        assert await send("a", 1, 1, 2) == 1
        both = await asyncio.gather(send("a", 2, 3), send("b", 1, 4))
        assert list(both) == [2, 1]
        with pytest.raises(CallboardError, match="in their order"):
            await send("a", 9, 5)
        view = await system.ask(QueryPipeline(), ref)
        assert view.account["read"] == 4
    async with callboard.start(engine="inline", hosts=1) as system:
        ref = await system.spawn(actor)
        assert await send("a", 2, 3) == 2
        view = await system.ask(QueryPipeline(), ref)
        assert view.account["read"] == 4


async def test_a_pipeline_of_other_sources_takes_no_rows() -> None:
    actor = props(
        PipelineActor, spec_of(PipelineStage("c", "clean")), lambda: MemorySource([]), TableSink,
        MemoryReadModelStore, limits=LIMITS,
    )  # fmt: skip
    async with callboard.start(engine="inline", hosts=1) as system:
        ref = await system.spawn(actor)
        with pytest.raises(UsageError, match="does not receive"):
            await system.ask(SendRows(sender="a", sequence=1, rows=()), ref)


async def test_senders_that_wait_do_not_keep_a_stopped_pipeline_from_being_resumed() -> None:
    strict = MonitoringConfiguration(letters_max=0)
    actor = props(
        PipelineActor, spec_of(PipelineStage("parse", "parse"), monitoring=strict),
        ReceivedSource, TableSink, MemoryReadModelStore, limits=LIMITS,
    )  # fmt: skip
    async with callboard.start(engine="inline", hosts=1) as system:
        ref = await system.spawn(actor)

        async def send(sender: int) -> Any:
            request = SendRows(sender=f"s{sender}", sequence=1, rows=(b"{bad",))
            try:
                return await system.ask(request, ref, timeout_s=1.5)
            except CallboardError as error:
                return error.code

        sending = asyncio.gather(*(send(n) for n in range(80)))
        await view_when(system, ref, lambda view: view.state is RunState.STOPPED)
        assert (await system.ask(ResumePipeline(), ref, timeout_s=1.0)).was_stopped
        codes = set(await sending)
        assert codes == {"mailbox_full", "deadline_exceeded"}
