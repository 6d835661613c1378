"""Sinks outside the store: the same delivery twice is there once."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import callboard
from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.pipelines.batch import DataBatch
from callboard.actors.pipelines.errors import StageOutputRefused
from callboard.actors.pipelines.running.figures import PipelineLimits, RunState
from callboard.actors.pipelines.running.outgoing import decode_batch
from callboard.actors.pipelines.running.ports import Delivery
from callboard.actors.pipelines.running.runner import PipelineRunner
from callboard.actors.pipelines.running.sinks import (
    AskSink,
    DeliverRows,
    FileSink,
    LogSink,
    MemorySink,
    RouteSink,
    RowsDelivered,
    TableSink,
    read_table,
)
from callboard.actors.pipelines.running.sources import MemorySource
from callboard.actors.pipelines.running.stored import PipelineStore
from callboard.actors.pipelines.spec import PipelineStage
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import UsageError
from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.stores import ReadModelStore
from callboard.runtime.stores.choose import read_model_store
from callboard.runtime.stores.memory import MemoryEventStore

from ..parts import checked, lines, pipeline_of

LIMITS: Final = PipelineLimits(batch_rows=7, idle_s=0.01)
DEADLINE_S: Final = 20.0


class Row(Contract, name="test.pipelines.row"):
    """A row that is a contract."""

    number: int


def delivery(*rows: Any, number: int = 1) -> Delivery:
    return Delivery("orders", number, DataBatch.of_rows(rows), 3)


async def test_a_log_has_each_row_once() -> None:
    log = MemoryEventStore()
    journal = Journal(log, owner="test")
    await journal.open()
    sink = LogSink(journal, "orders", "order")
    for number in (1, 1, 2, 2):
        await sink.deliver(delivery({"n": number}, Row(number=number), number=number))
    events = log.read_stream("orders")
    assert [event.metadata for event in events] == [b"msgpack", b"test.pipelines.row"] * 2
    assert events[1].data == b'{"number":1}'
    await journal.close()


class Taker(Actor):
    """Takes rows, each delivery once."""

    def __init__(self) -> None:
        self.taken: dict[int, int] = {}

    @handler
    async def take(self, request: DeliverRows) -> RowsDelivered:
        self.taken.setdefault(request.number, len(decode_batch(request.rows)))
        assert request.fence == 3
        return RowsDelivered()


async def test_an_actor_gets_rows() -> None:
    async with callboard.start(engine="inline", hosts=1) as system:
        ref = await system.spawn(Taker)
        sink = AskSink(ref.ask)
        await sink.deliver(delivery({"n": 1}, {"n": 2}))


async def test_a_file_is_replaced_by_the_same_lines(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "out")
    await sink.open()
    for _ in range(2):
        await sink.deliver(delivery({"n": "ä"}, b"raw", Row(number=1)))
    (file,) = (tmp_path / "out").iterdir()
    assert file.read_text("utf-8").splitlines() == ['{"n": "ä"}', "raw", '{"number":1}']
    await sink.close()


async def test_a_route_without_a_sink_is_an_error_and_nothing_is_delivered() -> None:
    memory = MemorySink()
    sink = RouteSink({"a": memory})
    with pytest.raises(UsageError, match="'b'"):
        await sink.deliver(delivery({"route": "a"}, {"route": "b"}))
    assert memory.batches == {}
    with pytest.raises(UsageError):
        RouteSink({})


def test_a_table_keeps_rows_of_all_kinds() -> None:
    sink = TableSink()
    batch = DataBatch.of_rows([{"a": 1, 2: [b"x"]}, b"raw", Row(number=7), [1, 2]])
    store = read_model_store("memory:")
    store.apply("pipeline/orders", 0, 1, sink.changes(batch, 4))
    assert [row for _, row in read_table(store, "orders")] == [
        {"a": 1, 2: [b"x"]},
        b"raw",
        {"number": 7},
        [1, 2],
    ]
    with pytest.raises(StageOutputRefused):
        sink.changes(DataBatch.of_rows([object]), 1)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadModelStore]:
    url = str(tmp_path / "store.db")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    with contextlib.closing(read_model_store(url, durability="off")) as made:
        yield made


async def test_it_goes_on_at_its_position_on_each_store(store: ReadModelStore) -> None:
    total = PipelineStage("sum", "aggregate", configuration={"compute": {"id": "sum(id)"}})
    for count in (20, 40):
        pipeline = pipeline_of(PipelineStage("parse", "parse"), total)
        async with PipelineRunner(
            pipeline, MemorySource(lines(count)), TableSink(), store, limits=LIMITS
        ) as runner:
            await runner.wait(lambda now: now.state is RunState.ENDED, DEADLINE_S)
        checked(pipeline)
        assert pipeline.account.read == count
    assert sum(row["id"] for _, row in read_table(store, "orders")) == sum(
        n for n in range(40) if n % 10 != 5
    )
    letters = PipelineStore(store, "orders").letters()
    assert [letter.position for _, letter in letters] == [5, 15, 25, 35]


HOSTILE: Final = (
    b'{"id": "\\ud800"}', b'{"id": 1, "x": "\\ud800"}', b'{"id": 123456789012345678901234567890}',
    b'{"id": "\\u0000"}', b'{"x": 1}', b'{"id": NaN}', b'{"id": "' + b"k" * 5_000 + b'"}',
    b'{"id": 2, "x": ' + b"[" * 600 + b"]" * 600 + b"}", b'{"id": 3}', b"\xff\xfe", b'{"id": null}',
    b'{"id": {"a": 1}}', b'{"\\ud800": 1, "id": 4}', b'{"id": "a/b%c"}', b'{"id": true}',
)  # fmt: skip
"""Lines of JSON that some store or other cannot keep."""


async def test_rows_that_the_store_cannot_keep_are_dead_letters(store: ReadModelStore) -> None:
    rows = (*HOSTILE, *(b'{"id": %d}' % number for number in range(100, 110)))
    for name, sink in (("inside", TableSink(["id"])), ("outside", MemorySink())):
        pipeline = pipeline_of(PipelineStage("parse", "parse"), name=name)
        async with PipelineRunner(
            pipeline, MemorySource(rows), sink, store, limits=LIMITS
        ) as runner:
            await runner.wait(lambda now: now.state is RunState.ENDED, DEADLINE_S)
        account = checked(pipeline).account
        letters = runner.store.letters()
        assert account.delivered + len(letters) == len(rows)
        assert account.delivered >= 10 + 6
        assert {letter.original for _, letter in letters} <= set(HOSTILE)


async def test_a_damaged_letter_names_its_number_and_can_be_discarded() -> None:
    store = read_model_store("memory:")
    pipeline = pipeline_of(PipelineStage("parse", "parse"))
    async with PipelineRunner(
        pipeline, MemorySource([b"{"] * 3), TableSink(), store, limits=LIMITS
    ) as runner:
        await runner.wait(lambda now: now.state is RunState.ENDED, DEADLINE_S)
        letters = runner.store
        at = store.position(letters.model)
        store.apply(letters.model, at, at + 1, {"letter/000000000002": b"\xc1"})
        with pytest.raises(StoreDamaged, match="dead letter 2"):
            letters.letters()
        letters.discard([2])
        assert [number for number, _ in letters.letters()] == [1, 3]
