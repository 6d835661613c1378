"""One shard: it commits in groups, answers when points are durable, and survives its store."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from callboard.actors.metrics.aggregation.shard import Shard, ShardLimits, ShardStatus
from callboard.actors.metrics.points import PointsAccepted
from callboard.actors.metrics.rows import WINDOWS_NS, WindowFlag, WindowRows
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, MailboxFull
from callboard.messages.storage.errors import (
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
    WriterFenced,
)

from .faulty_storage import ALWAYS, BEGIN_NS, Clock, FaultyStorage, batch_of, counted_in

MINUTE_NS = WINDOWS_NS[0]
AT_ONCE = Backoff(min_s=0.0, max_s=0.0)


class Opened:
    """Shards on one store, one after the other."""

    def __init__(self) -> None:
        self.storage = FaultyStorage()
        self.clock = Clock.start()
        self.shards: list[Shard] = []
        self.closed: list[WindowRows] = []
        self.broken: list[CallboardError] = []

    def closed_(self, shard: int, rows: WindowRows) -> None:
        self.closed.append(rows)

    async def shard(self, **options: Any) -> Shard:
        """The next incarnation."""
        made = Shard(
            0,
            len(self.shards) + 1,
            self.storage,
            clock_ns=self.clock,
            limits=ShardLimits(retry=AT_ONCE, **options),
            sinks=(_Sink(self.closed),),
            on_broken=self.broken.append,
        )
        self.shards.append(made)
        await made.open()
        return made


class _Sink:
    def __init__(self, closed: list[WindowRows]) -> None:
        self._closed = closed

    def closed(self, shard: int, rows: WindowRows) -> None:
        self._closed.append(rows)


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    found = Opened()
    yield found
    found.storage.gate.set()
    found.storage.faults.clear()
    for shard in found.shards:
        await shard.close()


async def until(is_so: Any) -> None:
    async with asyncio.timeout(20.0):
        while not is_so():  # noqa: ASYNC110 - steps of the loop, no time
            await asyncio.sleep(0)


async def test_points_are_answered_once_they_are_durable(opened: Opened) -> None:
    shard = await opened.shard()
    opened.storage.gate.clear()
    answer = asyncio.ensure_future(shard.append(batch_of([1, 2, 3])))
    await until(lambda: shard.status is ShardStatus.COMMITTING)
    assert not answer.done()
    opened.storage.gate.set()
    accepted = await answer
    assert [accepted.sequence, accepted.series] == [3, 8]
    assert accepted.credit > 0
    assert len(opened.storage.commits) == 1


async def test_what_arrives_during_a_commit_is_in_the_next_one(opened: Opened) -> None:
    shard = await opened.shard()
    opened.storage.gate.clear()
    first = asyncio.ensure_future(shard.append(batch_of([1])))
    await until(lambda: shard.status is ShardStatus.COMMITTING)
    others = [
        asyncio.ensure_future(shard.append(batch_of([2], sequence=number)))
        for number in range(1, 30)
    ]
    await asyncio.sleep(0)
    opened.storage.gate.set()
    assert (await first).sequence == 1, "only what its own commit has"
    assert {answer.sequence for answer in await asyncio.gather(*others)} == {30}
    assert len(opened.storage.commits) == 2


async def test_what_arrives_while_old_blocks_are_packed_is_committed(opened: Opened) -> None:
    shard = await opened.shard()
    packing, go_on = asyncio.Event(), asyncio.Event()

    async def pack(shard: int, before_ns: int, blocks_max: int) -> int:
        packing.set()
        await go_on.wait()
        return 0

    opened.storage.pack = pack  # type: ignore[method-assign]
    first = asyncio.ensure_future(shard.append(batch_of([1])))
    await packing.wait()
    second = asyncio.ensure_future(shard.append(batch_of([2], sequence=1)))
    assert (await first).sequence == 1
    go_on.set()
    async with asyncio.timeout(20.0):
        assert (await second).sequence == 2


async def test_a_store_that_is_away_at_first_is_waited_for(opened: Opened) -> None:
    opened.storage.claim_faults.extend([StoreUnavailable("away", may_have_run=True)] * 3)
    shard = await opened.shard()
    assert (await shard.append(batch_of([1]))).sequence == 1


async def test_a_shard_of_another_aggregator_does_not_open(opened: Opened) -> None:
    opened.storage.claim_faults.append(WriterFenced("another"))
    with pytest.raises(WriterFenced):
        await opened.shard()
    opened.shards.clear()


async def test_a_repeated_batch_counts_once(opened: Opened) -> None:
    shard = await opened.shard()
    for _ in range(3):
        assert (await shard.append(batch_of([1, 2]))).sequence == 2
    assert int(shard.windows_in((), MINUTE_NS, *ALWAYS).counts.sum()) == 2
    assert shard.figures()["repeated"] == 4


async def test_a_store_that_is_away_delays_answers(opened: Opened) -> None:
    shard = await opened.shard()
    opened.storage.faults.extend(
        [StoreFull("no room", may_have_run=False), StoreUnavailable("away", may_have_run=False)] * 3
    )
    assert (await shard.append(batch_of([1]))).sequence == 1
    assert shard.counts["retries"] == 6
    assert shard.counts["restores"] == 0


async def test_too_much_that_waits_for_the_store_is_refused(opened: Opened) -> None:
    shard = await opened.shard(waiting_points=10)
    opened.storage.gate.clear()
    first = asyncio.ensure_future(shard.append(batch_of(range(6))))
    second = asyncio.ensure_future(shard.append(batch_of(range(6), sequence=6)))
    await asyncio.sleep(0)
    with pytest.raises(MailboxFull) as refused:
        await shard.append(batch_of(range(6), sequence=12))
    assert not refused.value.may_have_run
    opened.storage.gate.set()
    assert [(await answer).sequence for answer in (first, second)] == [12, 12]
    assert (await shard.append(batch_of(range(6), sequence=12))).sequence == 18


@pytest.mark.parametrize("outcome", ["lost", "unlost"])
async def test_a_commit_of_unknown_outcome_counts_once(opened: Opened, outcome: str) -> None:
    shard = await opened.shard()
    await shard.append(batch_of([1]))
    opened.storage.faults.append(outcome)
    opened.storage.claim_faults.append(StoreUnavailable("away", may_have_run=False))
    with pytest.raises(StoreUnavailable) as unknown:
        await shard.append(batch_of([2, 3], sequence=1))
    assert unknown.value.may_have_run
    await until(lambda: shard.status is ShardStatus.IDLE)
    assert (await shard.append(batch_of([2, 3], sequence=1))).sequence == 3
    assert int(shard.windows_in((), MINUTE_NS, *ALWAYS).counts.sum()) == 3
    assert shard.counts["restores"] == 1


@pytest.mark.parametrize("error", [WriterFenced("another"), StoreDamaged("bad")])
async def test_a_shard_that_is_fenced_or_damaged_ends(
    opened: Opened, error: CallboardError
) -> None:
    shard = await opened.shard()
    opened.storage.faults.append(error)
    for _ in range(2):
        with pytest.raises(type(error)):
            await shard.append(batch_of([1]))
    assert opened.broken == [error]
    assert shard.status is ShardStatus.BROKEN


async def test_a_newer_aggregator_goes_on_and_the_older_one_ends(opened: Opened) -> None:
    old = await opened.shard()
    await old.append(batch_of([1, 2]))
    new = await opened.shard()
    with pytest.raises(WriterFenced):
        await old.append(batch_of([3], sequence=2))
    assert (await new.append(batch_of([1, 2]))).sequence == 2
    assert (await new.append(batch_of([3], sequence=2))).sequence == 3
    assert int(new.windows_in((), MINUTE_NS, *ALWAYS).counts.sum()) == 3


async def test_the_state_replaces_a_log_that_has_grown(opened: Opened) -> None:
    shard = await opened.shard(log_bytes=500, log_share=0.5)
    for number in range(30):
        await shard.append(batch_of([number], sequence=number))
    states = [commit["state"] for commit in opened.storage.commits if commit["state"]]
    assert len(states) >= 2
    again = await opened.shard()
    assert int(again.windows_in((), MINUTE_NS, *ALWAYS).counts.sum()) == 30


async def test_windows_close_by_the_timer_and_go_to_sinks_when_they_are_stored(
    opened: Opened,
) -> None:
    shard = await opened.shard()
    await shard.append(batch_of([1, 2, 3]))
    opened.clock.pass_s(3_600)
    opened.storage.gate.clear()
    shard.tick()
    await until(lambda: shard.status is ShardStatus.COMMITTING)
    assert opened.closed == []
    assert int(shard.windows_in((), MINUTE_NS, *ALWAYS).counts.sum()) == 3, "also meanwhile"
    opened.storage.gate.set()
    await until(lambda: shard.status is ShardStatus.IDLE)
    assert {rows.width_ns for rows in opened.closed} >= {MINUTE_NS, WINDOWS_NS[1]}
    assert counted_in(opened.storage.store.windows) == 3
    assert int(shard.windows_in((), MINUTE_NS, *ALWAYS).counts.sum()) == 3, "from memory"
    assert shard.complete_from_ns(MINUTE_NS) <= BEGIN_NS


async def test_a_sink_that_fails_stops_nothing(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def closed(self, shard: int, rows: WindowRows) -> None:
            raise OSError("a defect of a sink")

    shard = Shard(0, 1, opened.storage, clock_ns=opened.clock, sinks=(Failing(),))
    await shard.open()
    await shard.append(batch_of([1]))
    opened.clock.pass_s(3_600)
    assert (await shard.append(batch_of([3_599], sequence=1))).sequence == 2
    assert "a sink of windows failed" in caplog.text
    await shard.close()


async def test_points_that_come_too_late_can_be_read(opened: Opened) -> None:
    shard = await opened.shard()
    await shard.append(batch_of([1]))
    opened.clock.pass_s(3_600)
    await shard.append(batch_of([3_599], sequence=1))
    accepted = await shard.append(batch_of([2, 3], sequence=2, watermark_s=3_599))
    assert accepted.sequence == 4
    assert len(shard.windows.late(10).series) == 2
    assert shard.figures()["late"] == 2


async def test_an_ordered_end_stores_open_windows_and_the_next_one_goes_on(
    opened: Opened,
) -> None:
    shard = await opened.shard()
    await shard.append(batch_of([1, 2]))
    await shard.close()
    stored = opened.storage.store.windows((), MINUTE_NS, *ALWAYS, 100)
    assert int(stored.counts.sum()) == 2
    assert all(flags & WindowFlag.OPEN for flags in stored.flags.tolist())
    again = await opened.shard()
    assert (await again.append(batch_of([3], sequence=2))).sequence == 3
    opened.clock.pass_s(3_600)
    again.tick()
    await until(lambda: again.status is ShardStatus.IDLE and opened.closed)
    stored = opened.storage.store.windows((), MINUTE_NS, *ALWAYS, 100)
    assert int(stored.counts.sum()) == 3
    assert not any(flags & WindowFlag.OPEN for flags in stored.flags.tolist())


async def test_the_end_does_not_wait_for_a_store_that_is_away(opened: Opened) -> None:
    shard = await opened.shard()
    opened.storage.gate.clear()
    answer = asyncio.ensure_future(shard.append(batch_of([1])))
    await until(lambda: shard.status is ShardStatus.COMMITTING)
    await shard.close(timeout_s=0.01)
    with pytest.raises(StoreUnavailable):
        await answer


async def test_many_sources_at_once(opened: Opened) -> None:
    shard = await opened.shard()
    answers: list[PointsAccepted] = await asyncio.gather(
        *(shard.append(batch_of([1, 2], source=f"s{number}")) for number in range(50))
    )
    assert {answer.sequence for answer in answers} == {2}
    assert int(shard.windows_in((), MINUTE_NS, *ALWAYS).counts.sum()) == 100
