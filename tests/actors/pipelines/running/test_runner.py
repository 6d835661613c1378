"""From source to sink: what is stored together, what is repeated, and who decides."""

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.core import Pipeline
from callboard.actors.pipelines.errors import PipelineRefused
from callboard.actors.pipelines.registry import StageEffects
from callboard.actors.pipelines.running.figures import PipelineLimits, PipelineStatistics, RunState
from callboard.actors.pipelines.running.ports import Delivery
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.actors.pipelines.running.sinks import (
    CallSink,
    FileSink,
    MemorySink,
    RouteSink,
    TableSink,
    read_table,
)
from callboard.actors.pipelines.running.sources import FileSource, LogSource, MemorySource
from callboard.actors.pipelines.running.stored import PipelineStore
from callboard.actors.pipelines.spec import (
    ErrorHandlingStrategy,
    ErrorPolicy,
    MonitoringConfiguration,
    PipelineStage,
    StagePlacement,
)
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import NoAgentOffers
from callboard.messages.storage.errors import StoreUnavailable, WriterFenced
from callboard.messages.storage.events import Append, NewEvent
from callboard.messages.storage.stores import ReadModelStore
from callboard.runtime.stores.memory import MemoryEventStore, MemoryReadModelStore

from ..parts import checked, lines, pipeline_of, types_with

DEADLINE_S: Final = 20.0
LIMITS: Final = PipelineLimits(batch_rows=7, idle_s=0.01, credit_batches=2)
PARSE: Final = PipelineStage("parse", "parse")


def orders(*more: PipelineStage, **known: Any) -> Pipeline:
    return pipeline_of(PARSE, *more, **known)


def runner(
    pipeline: Pipeline, source: Any, sink: Any, store: ReadModelStore, **known: Any
) -> PipelineRunner:
    return PipelineRunner(pipeline, source, sink, store, limits=LIMITS, **known)


def is_ended(now: PipelineStatistics) -> bool:
    return now.state is RunState.ENDED


def is_stopped(now: PipelineStatistics) -> bool:
    return now.state is RunState.STOPPED


def ids(rows: list[Any]) -> list[int]:
    return [row["id"] for row in rows]


GOOD_IDS: Final = [n for n in range(40) if n % 10 != 5]


async def test_rows_letters_accounts_and_position_are_stored_together() -> None:
    store, pipeline = MemoryReadModelStore(), orders()
    async with runner(pipeline, MemorySource(lines(40)), TableSink(["id"]), store) as running:
        await running.wait(is_ended, DEADLINE_S)
        now = running.statistics()
    assert (now.batches, now.account["read"], now.account["delivered"]) == (6, 40, 36)
    assert sorted(ids([row for _, row in read_table(store, "orders")])) == GOOD_IDS
    letters = PipelineStore(store, "orders").letters()
    assert [letter.position for _, letter in letters] == [5, 15, 25, 35]
    assert [letter.execution for _, letter in letters] == [
        f"orders/{place // 7 + 1}" for place in (5, 15, 25, 35)
    ]
    checked(pipeline)


async def test_a_second_run_goes_on_at_the_stored_position() -> None:
    store = MemoryReadModelStore()
    async with runner(orders(), MemorySource(lines(20)), TableSink(["id"]), store) as running:
        await running.wait(is_ended, DEADLINE_S)
    async with runner(orders(), MemorySource(lines(40)), TableSink(["id"]), store) as running:
        await running.wait(is_ended, DEADLINE_S)
    assert running.statistics().account["read"] == 40
    counts = running.reading().counts
    assert {name.label: n for name, n in counts.items() if name.metric.endswith("_read")} == {
        "orders": 20
    }


async def test_a_sink_outside_gets_each_batch_until_it_has_it() -> None:
    got: dict[int, list[Any]] = {}
    calls: list[int] = []

    async def take(delivery: Delivery) -> None:
        calls.append(delivery.number)
        if len(calls) % 2:
            raise ConnectionError("not now")
        got.setdefault(delivery.number, list(delivery.batch.data))

    pipeline = orders()
    running = PipelineRunner(
        pipeline, MemorySource(lines(20)), CallSink(take), MemoryReadModelStore(),
        limits=LIMITS,
    )  # fmt: skip
    async with running:
        await running.wait(is_ended, DEADLINE_S)
    assert sorted(got) == [1, 2, 3]
    assert calls == sorted(calls)
    assert ids([row for number in sorted(got) for row in got[number]]) == [
        n for n in range(20) if n % 10 != 5
    ]
    assert (pipeline.account.outgoing, running.statistics().deliver_failures) == (0, 3)


async def test_without_credit_no_row_is_read() -> None:
    let = asyncio.Event()

    async def take(_delivery: Delivery) -> None:
        await let.wait()

    pipeline = orders()
    async with runner(
        pipeline, MemorySource(lines(70)), CallSink(take), MemoryReadModelStore()
    ) as running:
        await running.wait(lambda now: now.state is RunState.WAITING_FOR_SINK, DEADLINE_S)
        assert running.statistics().account["read"] == 2 * 7
        let.set()
        await running.wait(is_ended, DEADLINE_S)
    assert running.statistics().account["delivered"] == 63


async def test_what_was_durable_and_not_delivered_is_delivered_by_the_next_run() -> None:
    store, sink = MemoryReadModelStore(), MemorySink()

    async def refuses(_delivery: Delivery) -> None:
        raise ConnectionError("gone")

    async with runner(orders(), MemorySource(lines(10)), CallSink(refuses), store) as first:
        await first.wait(lambda now: now.account.get("outgoing", 0) == 9, DEADLINE_S)
    async with runner(orders(), MemorySource(lines(10)), sink, store) as second:
        await second.wait(is_ended, DEADLINE_S)
    assert len(sink.rows) == 9
    assert second.statistics().account["outgoing"] == 0


async def test_over_the_cap_it_stops_stays_stopped_and_goes_on_after_resume() -> None:
    store = MemoryReadModelStore()
    strict = MonitoringConfiguration(letters_share_max=0.02, letters_share_rows=7)
    async with runner(
        orders(monitoring=strict), MemorySource(lines(40)), TableSink(), store
    ) as running:
        await running.wait(is_stopped, DEADLINE_S)
        assert "dead letters" in running.statistics().reason
    assert PipelineStore(store, "orders").letters() == []
    async with runner(orders(), MemorySource(lines(40)), TableSink(), store) as running:
        await running.wait(is_stopped, DEADLINE_S)
        assert await running.resume()
        await running.wait(is_ended, DEADLINE_S)
        assert not await running.resume()
    assert len(PipelineStore(store, "orders").letters()) == 4


async def test_fail_stops_with_the_stage_and_a_retry_waits() -> None:
    calls: list[int] = []

    def unsure(batch: DataBatch, _effects: StageEffects) -> DataBatch:
        calls.append(batch.rows)
        if len(calls) < 3:
            raise ConnectionError("not yet")
        return batch

    retry = ErrorHandlingStrategy(
        ErrorPolicy.RETRY, attempts_max=5, backoff=Backoff(0.001, 0.002), then=ErrorPolicy.FAIL
    )
    pipeline = orders(
        PipelineStage("unsure", "unsure", error_handling=retry), types=types_with(unsure=unsure)
    )
    store = MemoryReadModelStore()
    async with runner(pipeline, MemorySource(lines(7)), TableSink(), store) as running:
        await running.wait(is_ended, DEADLINE_S)
    assert running.statistics().retries == 2
    assert len(read_table(store, "orders")) == 6

    def never(_batch: DataBatch, _effects: StageEffects) -> DataBatch:
        raise ConnectionError("never")

    hopeless = orders(
        PipelineStage("never", "never", error_handling=ErrorHandlingStrategy(ErrorPolicy.FAIL)),
        types=types_with(never=never),
        name="other",
    )
    async with runner(hopeless, MemorySource(lines(7)), TableSink(), store) as running:
        await running.wait(is_stopped, DEADLINE_S)
        assert "'never'" in running.statistics().reason
        assert running.statistics().account["read"] == 0


async def test_a_letter_is_replayed_after_a_fix_or_discarded() -> None:
    store, people = MemoryReadModelStore(), PipelineStore(MemoryReadModelStore(), "orders")
    people = PipelineStore(store, "orders")

    def strict(batch: DataBatch, effects: StageEffects) -> DataBatch:
        for place, row in enumerate(batch.data):
            if row["id"] % 10 == 3:
                effects.refuse(place, "a three")
        return batch.take([n for n, row in enumerate(batch.data) if row["id"] % 10 != 3])

    stage = PipelineStage("strict", "strict")
    source = MemorySource(lines(20, bad_every=0))
    async with runner(
        orders(stage, types=types_with(strict=strict)), source, TableSink(["id"]), store
    ) as running:
        await running.wait(is_ended, DEADLINE_S)
        # Not mended yet: the letter comes back with another number and its attempt.
        people.replay([1])
        await running.wait(lambda now: now.account["replayed"] == 1, DEADLINE_S)
    numbers = [(number, letter.attempt) for number, letter in people.letters()]
    assert numbers == [(2, 1), (3, 2)]
    assert people.letters()[1][1].position == 3
    mended = types_with(strict=lambda batch, _: batch)
    people.discard([2])
    people.replay([3])
    pipeline = orders(stage, types=mended)
    async with runner(pipeline, source, TableSink(["id"]), store) as running:
        await running.wait(lambda now: now.account.get("replayed") == 2, DEADLINE_S)
    assert people.letters() == []
    checked(pipeline)
    assert pipeline.account.letters_discarded == 1
    assert 3 in ids([row for _, row in read_table(store, "orders")])


async def test_a_decision_during_a_run_is_taken_over_and_nothing_is_lost() -> None:
    store = MemoryReadModelStore()
    people = PipelineStore(store, "orders")
    rows: list[bytes] = lines(10)
    async with runner(
        orders(), MemorySource(rows, ends=False), TableSink(["id"]), store
    ) as running:
        await running.wait(lambda now: now.account.get("letters_pending") == 1, DEADLINE_S)
        people.discard([1])
        rows += lines(40)[10:]
        await running.wait(lambda now: now.account["read"] == 40, DEADLINE_S)
    assert running.statistics().account["letters_discarded"] == 1
    assert sorted(ids([row for _, row in read_table(store, "orders")])) == GOOD_IDS


async def test_of_two_runners_only_the_newer_goes_on() -> None:
    store = MemoryReadModelStore()
    failures: list[Any] = []
    rows = lines(10)
    old = runner(
        orders(), MemorySource(rows, ends=False), TableSink(["id"]), store,
        on_stopped=failures.append,
    )  # fmt: skip
    async with old:
        await old.wait(lambda now: now.account.get("read") == 10, DEADLINE_S)
        async with runner(
            orders(), MemorySource(rows, ends=False), TableSink(["id"]), store
        ) as new:
            rows += lines(40)[10:]
            await new.wait(lambda now: now.account["read"] == 40, DEADLINE_S)
            with pytest.raises(WriterFenced):
                await old.wait(lambda now: now.account["read"] == 99, DEADLINE_S)
    assert isinstance(failures[0], WriterFenced)
    assert sorted(ids([row for _, row in read_table(store, "orders")])) == GOOD_IDS


async def test_an_older_fence_does_not_start() -> None:
    store = MemoryReadModelStore()
    async with runner(orders(), MemorySource([]), TableSink(), store, fence=9 << 22):
        pass
    with pytest.raises(WriterFenced):
        await runner(orders(), MemorySource([]), TableSink(), store, fence=8 << 22).start()


async def test_a_stage_that_hangs_costs_its_batch_and_not_the_pipeline() -> None:
    let = threading.Event()

    def hangs(batch: DataBatch, _effects: StageEffects) -> DataBatch:
        if any(row["id"] == 8 for row in batch.data):
            let.wait(60.0)
        return batch

    pipeline = orders(
        PipelineStage("hangs", "hangs", timeout_s=0.05), types=types_with(hangs=hangs)
    )
    store = MemoryReadModelStore()
    try:
        async with runner(pipeline, MemorySource(lines(21)), TableSink(), store) as running:
            await running.wait(is_ended, DEADLINE_S)
    finally:
        let.set()
    assert running.statistics().hung == 1
    assert checked(pipeline).account.stages["hangs"].letters == 7
    reasons = [letter.reasons[0] for _, letter in running.store.letters()]
    assert sum("took more than 0.05 s" in reason for reason in reasons) == 7


async def test_what_a_stage_keeps_survives_a_restart() -> None:
    store = MemoryReadModelStore()
    total = PipelineStage(
        "total", "aggregate", configuration={"compute": {"id": "sum(id)"}, "every_rows": 25}
    )
    rows = lines(10, bad_every=0)
    async with runner(orders(total), MemorySource(rows, ends=False), TableSink(), store) as running:
        await running.wait(lambda now: now.account.get("read") == 10, DEADLINE_S)
    assert running.statistics().account["stages"]["total"]["buffered"] == 10
    with pytest.raises(PipelineRefused, match="keeps rows"):
        await runner(orders(), MemorySource(rows), TableSink(), store).start()
    async with runner(
        orders(total), MemorySource(lines(30, bad_every=0)), TableSink(), store
    ) as running:
        await running.wait(is_ended, DEADLINE_S)
    assert sum(row["id"] for _, row in read_table(store, "orders")) == sum(range(30))


async def test_changed_stages_begin_new_accounts_and_keep_old_letters() -> None:
    store = MemoryReadModelStore()
    async with runner(orders(), MemorySource(lines(10)), TableSink(), store) as running:
        await running.wait(is_ended, DEADLINE_S)
    changed = orders(PipelineStage("clean", "clean"))
    async with runner(changed, MemorySource(lines(20)), TableSink(), store) as running:
        await running.wait(is_ended, DEADLINE_S)
    checked(changed)
    assert (changed.account.read, changed.account.letters_pending) == (10, 2)


class Unsteady(MemoryReadModelStore):
    """A store that fails, before or after the change."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        self.calls += 1
        if self.calls % 3 == 1:
            raise StoreUnavailable("not now", may_have_run=False)
        done = super().apply(model, before, after, changes)
        if self.calls % 3 == 2:
            raise StoreUnavailable("and the answer is lost", may_have_run=True)
        return done


async def test_failures_of_the_store_repeat_nothing() -> None:
    store, pipeline = Unsteady(), orders()
    store.calls = 2
    running = PipelineRunner(
        pipeline, MemorySource(lines(20)), TableSink(["id"]), store, limits=LIMITS,
    )  # fmt: skip
    store.calls = 3 - 1
    await asyncio.to_thread(running.store.open)
    store.calls = 3 - 1
    async with running:
        await running.wait(is_ended, 60.0)
    assert running.statistics().store_failures > 0
    assert running.statistics().account["read"] == 20
    assert checked(pipeline).account.delivered == 18


async def test_files_are_read_and_written(tmp_path: Path) -> None:
    for name, count in (("a.jsonl", 12), ("b.jsonl", 3)):
        (tmp_path / name).write_bytes(b"\n".join(lines(count)) + b"\n\n")
    route = PipelineStage(
        "route", "route", configuration={"routes": {"big": "amount > 5"}, "otherwise": "small"}
    )
    sink = RouteSink({each: FileSink(tmp_path / each) for each in ("big", "small")})
    async with runner(
        orders(route), FileSource(str(tmp_path / "*.jsonl")), sink, MemoryReadModelStore()
    ) as running:
        await running.wait(is_ended, DEADLINE_S)
    written = {
        each: [
            json.loads(line)["id"]
            for path in sorted((tmp_path / each).iterdir())
            for line in path.read_bytes().splitlines()
        ]
        for each in ("big", "small")
    }
    assert written == {"big": [9, 10, 11], "small": [0, 1, 2, 3, 4, 6, 7, 8, 0, 1, 2]}
    ((_, letter),) = running.store.letters()
    assert (letter.source, letter.original) == (str(tmp_path / "a.jsonl"), b"{bad")
    assert (tmp_path / "a.jsonl").read_bytes()[letter.position :].startswith(b"{bad")


async def test_a_followed_file_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1, "amount": 1}\n{"id": 2')
    store = MemoryReadModelStore()
    async with runner(
        orders(), FileSource(str(path), follow=True), TableSink(["id"]), store
    ) as running:
        await running.wait(lambda now: now.account.get("read") == 1, DEADLINE_S)
        with path.open("ab") as file:
            file.write(b', "amount": 2}\n')
        await running.wait(lambda now: now.account["read"] == 2, DEADLINE_S)
    assert ids([row for _, row in read_table(store, "orders")]) == [1, 2]


async def test_events_of_a_log_are_rows() -> None:
    log, store = MemoryEventStore(), MemoryReadModelStore()
    log.take_over("me")
    log.commit(
        [Append("s", tuple(NewEvent(bytes([n]) * 16, f"k{n % 2}", b"x") for n in range(10)))]
    )
    pipeline = pipeline_of(PipelineStage("all", "transform", configuration={"remove": ["data"]}))
    async with runner(pipeline, LogSource(log, kinds=["k1"]), TableSink(), store) as running:
        await running.wait(lambda now: now.account.get("read") == 5, DEADLINE_S)
        await running.wait(lambda now: now.behind == 0, DEADLINE_S)
    assert [row["position"] for _, row in read_table(store, "orders")] == [2, 4, 6, 8, 10]


async def test_a_row_without_its_key_gets_the_policy_of_the_last_stage() -> None:
    rows = [{"id": 1}, {"no": 2}]
    strict = ErrorHandlingStrategy(ErrorPolicy.FAIL)
    pipeline = pipeline_of(PipelineStage("c", "clean"), strategy=strict)
    async with runner(
        pipeline, MemorySource(rows), TableSink(["id"]), MemoryReadModelStore()
    ) as running:
        await running.wait(is_stopped, DEADLINE_S)
        assert "no key id" in running.statistics().reason
    assert checked(pipeline).account.read == 0


async def test_a_pool_that_never_comes_does_not_keep_a_pipeline_open() -> None:
    async def nobody(_request: Any, _timeout_s: float) -> Any:
        raise NoAgentOffers("nobody runs stages.", may_have_run=False)

    pipeline = orders(PipelineStage("far", "clean", placement=StagePlacement.POOL))
    source = MemorySource(lines(20))
    running = runner(pipeline, source, TableSink(), MemoryReadModelStore(), ask_pool=nobody)
    await running.start()
    await running.wait(lambda now: now.in_flight > 0, DEADLINE_S)
    await running.close(0.05)
    assert running.statistics().state is RunState.CLOSED
