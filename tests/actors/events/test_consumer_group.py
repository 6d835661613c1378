"""Groups of consumers over logs and read models: at least once, saved, and in one place."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.events.codec import Event, Unknown
from callboard.actors.events.consumers.core import ConsumersLimits
from callboard.actors.events.consumers.group import ConsumerGroup
from callboard.actors.events.errors import GroupTaken
from callboard.actors.events.subscription.reader import Follower, SubscriptionLimits
from callboard.messages.core.errors import InternalError, SpecError, UsageError
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable, UnknownEvent
from callboard.messages.storage.stores import ReadModelStore
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.stores.sqlite import SqliteReadModelStore

from .ledger import WAIT_S, Deposited, HardLog, codec_of, deposits, stranger, until

QUICK = ConsumersLimits(attempts_max=2, backoff_s_min=0.002, backoff_s_max=0.01)
CODEC = codec_of()


@pytest.fixture(params=["memory", "sqlite"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReadModelStore]:
    store: ReadModelStore = MemoryReadModelStore()
    if request.param == "sqlite":
        store = SqliteReadModelStore(tmp_path / "models.db", durability="off")
    store.open()
    yield store
    store.close()


@pytest.fixture
def log() -> HardLog:
    return HardLog(page_max=7)


def group_of(log: HardLog, models: ReadModelStore, **options: Any) -> ConsumerGroup:
    options = {"limits": QUICK, "save_every_s": 0.005, **options}
    follower = Follower(log, SubscriptionLimits(idle_s=0.05))
    return ConsumerGroup("g", follower, options.pop("codec", CODEC), models, **options)


def amount_of(event: Event) -> int:
    assert isinstance(event.body, Deposited)
    return event.body.amount


async def test_each_event_goes_to_one_consumer(log: HardLog, models: ReadModelStore) -> None:
    seen: Counter[int] = Counter()

    async def handle(event: Event) -> None:
        await asyncio.sleep(0)
        seen[event.position] += 1

    async with group_of(log, models) as group:
        running = asyncio.create_task(group.run(handle, consumers=4))
        for _ in range(20):
            log.add("a", deposits(CODEC, 10))
        await until(lambda: group.statistics().checkpoint == 200)
        now = group.statistics()
        assert (now.acks, now.open, now.lag_positions, now.consumers) == (200, 0, 0, 4)
    await running
    assert seen == Counter(range(1, 201))
    assert models.position("consumers/g") == 200


async def test_whatever_a_handler_raises_is_a_failed_attempt_and_nothing_is_left(
    log: HardLog, models: ReadModelStore
) -> None:
    mark = contextvars.ContextVar("mark", default="")
    errors = (asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit, ValueError)
    seen: list[tuple[str, int]] = []

    async def handle(event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        seen.append((mark.get(), task.cancelling()))
        mark.set("left")
        task.cancel()
        raise errors[event.position % len(errors)]

    async with group_of(log, models) as group:
        running = asyncio.create_task(group.run(handle))
        log.add("a", deposits(CODEC, len(errors)))
        await until(lambda: group.statistics().parked == len(errors))
        reasons = {parked.reasons[-1] for parked in await group.parked()}
    await running
    assert reasons == {f"attempt 2: {error.__name__}()" for error in errors}
    assert seen == [("", 0)] * (len(errors) * QUICK.attempts_max)


async def test_a_restart_goes_on_where_it_was_and_repeats_nothing_that_was_saved(
    log: HardLog, models: ReadModelStore
) -> None:
    log.add("a", deposits(CODEC, 20))
    async with group_of(log, models) as group:
        consumer = group.consumer("x", capacity=10)
        given = [await consumer.next(WAIT_S) for _ in range(10)]
        for delivery in given:
            assert delivery is not None
            if delivery.event.position not in {4, 7}:
                assert delivery.ack()
        await group.flush()
        assert group.statistics().checkpoint == 3
    assert given[3] is not None
    assert not given[3].ack(), "it comes too late"
    seen: list[int] = []

    async def handle(event: Event) -> None:
        seen.append(event.position)

    async with group_of(log, models) as group:
        running = asyncio.create_task(group.run(handle))
        await until(lambda: group.statistics().checkpoint == 20)
    await running
    assert seen == [4, 7, *range(11, 21)]


async def test_a_stream_is_gone_on_with_too(log: HardLog, models: ReadModelStore) -> None:
    for _ in range(4):
        log.add("a", deposits(CODEC, 3))
        log.add("b", deposits(CODEC, 2))
    seen: list[tuple[str, int]] = []

    async def handle(event: Event) -> None:
        seen.append((event.recorded.stream, event.recorded.version))

    for rounds in (1, 2):
        async with group_of(log, models, stream="b") as group:
            running = asyncio.create_task(group.run(handle))
            head = log.head
            await until(lambda g=group, h=head: g.statistics().checkpoint == h)  # type: ignore[misc]
        await running
        log.add("b", deposits(CODEC, 2))
        assert seen == [("b", version) for version in range(1, 7 + 2 * rounds)][: len(seen)]
    assert len(seen) == 10


async def test_what_is_done_of_a_stream_behind_an_open_event_is_not_repeated(
    log: HardLog, models: ReadModelStore
) -> None:
    for _ in range(2):
        log.add("a", deposits(CODEC, 3))
        log.add("b", deposits(CODEC, 2))
    seen: list[int] = []

    async def handle(event: Event) -> None:
        seen.append(event.recorded.version)

    async with group_of(log, models, stream="b") as group:
        consumer = group.consumer("x", capacity=4)
        for _ in range(4):
            delivery = await consumer.next(WAIT_S)
            assert delivery is not None
            if delivery.event.recorded.version in {2, 4}:
                delivery.ack()
    async with group_of(log, models, stream="b") as group:
        running = asyncio.create_task(group.run(handle))
        await until(lambda: group.statistics().checkpoint == log.head)
    await running
    assert seen == [1, 3]


async def test_the_order_of_a_key(log: HardLog, models: ReadModelStore) -> None:
    log.add("a", deposits(CODEC, 60))
    seen: dict[int, list[int]] = {}
    busy: set[int] = set()

    async def handle(event: Event) -> None:
        key = amount_of(event) % 5
        assert key not in busy, "two of one key at once"
        busy.add(key)
        for _ in range(event.position % 3):
            await asyncio.sleep(0)
        busy.discard(key)
        mine = seen.setdefault(key, [])
        mine.append(event.position)
        if len(mine) == 3 and mine[-1] != mine[-2]:
            raise RuntimeError("once more")

    group = group_of(log, models, key=lambda event: str(amount_of(event) % 5))
    async with group:
        running = asyncio.create_task(group.run(handle, consumers=8))
        await until(lambda: group.statistics().checkpoint == 60)
        assert group.statistics().parked == 0
    await running
    for key, positions in seen.items():
        assert positions == sorted(positions)
        assert sorted(set(positions)) == [p for p in range(1, 61) if (p - 1) % 5 == key]
        assert len(positions) == 13, "one was given out twice"


async def test_parked_replayed_and_dropped(log: HardLog, models: ReadModelStore) -> None:
    log.add("a", deposits(CODEC, 5))
    bad = {2, 4}

    async def handle(event: Event) -> None:
        if event.position in bad:
            raise ValueError(f"no {event.position}")

    async with group_of(log, models) as group:
        running = asyncio.create_task(group.run(handle, consumers=2))
        await until(lambda: group.statistics().checkpoint == 5)
        assert [row.event.position for row in await group.parked()] == [2, 4]
    await running
    async with group_of(log, models) as group:
        rows = await group.parked()
        assert [row.event.position for row in rows] == [2, 4]
        assert rows[0].attempts == 2
        assert rows[0].reasons[-1] == "attempt 2: ValueError('no 2')"
        assert rows[0].event.body == Deposited(amount=1)
        assert [row.event.position for row in await group.parked(after=2)] == [4]
        await group.drop(4)
        bad.clear()
        await group.replay(2)
        assert [row.event.position for row in await group.parked()] == [2], "until it is done"
        for position in (1, 2, 4):
            with pytest.raises(UsageError, match="parked"):
                await group.replay(position)
        running = asyncio.create_task(group.run(handle))
        await until(lambda: group.statistics().open == 0)
        assert await group.parked() == []
    await running
    async with group_of(log, models) as group:
        assert group.statistics().parked == 0
        assert group.statistics().checkpoint == 5


async def test_a_consumer_that_says_nothing_or_leaves(log: HardLog, models: ReadModelStore) -> None:
    log.add("a", deposits(CODEC, 2))
    limits = ConsumersLimits(attempts_max=9, ack_timeout_s=0.05, backoff_s_min=0.001)
    async with group_of(log, models, limits=limits) as group:
        silent = group.consumer("silent", capacity=2)
        first = await silent.next(WAIT_S)
        assert first is not None
        await until(lambda: group.statistics().timeouts >= 2)
        assert not first.ack()
        assert not first.nack("late")
        assert group.statistics().late == 2
        again = await silent.next(WAIT_S)
        assert again is not None
        assert again.attempt > 1, "the second event's first delivery has waited too long"
        silent.close()
        silent.close()
        assert await silent.next() is None
        with group.consumer("good", capacity=2) as good:
            for _ in range(2):
                delivery = await good.next(WAIT_S)
                assert delivery is not None
                assert delivery.ack()
                assert not delivery.ack()
            await until(lambda: group.statistics().checkpoint == 2)
            assert await good.next(0.001) is None


async def test_no_more_than_the_window_is_taken_in(log: HardLog, models: ReadModelStore) -> None:
    log.add("a", deposits(CODEC, 100))
    limits = ConsumersLimits(window_max=10)
    async with group_of(log, models, limits=limits) as group:
        consumer = group.consumer("x", capacity=100)
        stuck = await consumer.next(WAIT_S)
        assert stuck is not None
        for _ in range(9):
            delivery = await consumer.next(WAIT_S)
            assert delivery is not None
            delivery.ack()
        assert await consumer.next(0.05) is None
        assert group.statistics().checkpoint == 0
        stuck.ack()
        delivery = await consumer.next(WAIT_S)
        assert delivery is not None
        assert delivery.event.position == 11


async def test_who_opens_a_group_takes_it_over(log: HardLog, models: ReadModelStore) -> None:
    log.add("a", deposits(CODEC, 3))
    first, second = group_of(log, models), group_of(log, models)
    await first.open()
    consumer = first.consumer("x", capacity=3)
    held = [await consumer.next(WAIT_S) for _ in range(3)]
    await second.open()
    # The checkpoint does not move: what stands behind it is noticed as well.
    assert held[1] is not None
    assert held[1].ack()
    with pytest.raises(GroupTaken):
        await first.flush()
    with pytest.raises(GroupTaken):
        async with asyncio.timeout(WAIT_S):
            await consumer.next()
    assert held[0] is not None
    assert not held[0].ack(), "it could not be saved"
    with pytest.raises(GroupTaken):
        first.consumer("y")
    await first.close()
    seen: list[int] = []

    async def handle(event: Event) -> None:
        seen.append(event.position)

    running = asyncio.create_task(second.run(handle))
    await until(lambda: second.statistics().checkpoint == 3)
    await second.close()
    await running
    assert seen == [1, 2, 3]


class Unsure(MemoryReadModelStore):
    """Some of its transactions fail, with or without having happened."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[Exception] = []

    def apply(
        self, model: str, before: int, after: int, changes: Mapping[str, bytes | None]
    ) -> bool:
        fault = self.faults.pop(0) if self.faults else None
        if fault is None:
            return super().apply(model, before, after, changes)
        if isinstance(fault, CommitUnknown):
            super().apply(model, before, after, changes)
        raise fault


async def test_saves_that_fail_or_may_have_happened_are_tried_again(log: HardLog) -> None:
    models = Unsure()
    log.add("a", deposits(CODEC, 6))
    async with group_of(log, models) as group:
        models.faults = [CommitUnknown("?"), StoreUnavailable("gone"), CommitUnknown("?")]

        async def handle(event: Event) -> None:
            if event.position == 3:
                raise ValueError("no")

        running = asyncio.create_task(group.run(handle))
        await until(lambda: models.position("consumers/g") == 6 and not models.faults)
        await until(lambda: group.statistics().save_failures == 3)
        assert [row.event.position for row in await group.parked()] == [3]
    await running
    async with group_of(log, models) as group:
        assert [row.event.position for row in await group.parked()] == [3]


async def test_what_a_failed_save_held_is_in_the_next_one(log: HardLog) -> None:
    models = Unsure()
    log.add("a", deposits(CODEC, 2))

    async def handle(event: Event) -> None:
        if event.position == 1:
            raise ValueError("no")

    async with group_of(log, models, save_every_s=60.0) as group:
        running = asyncio.create_task(group.run(handle))
        await until(lambda: group.statistics().parked == 1)
        models.faults = [StoreUnavailable("gone")]
        with pytest.raises(StoreUnavailable):
            await group.flush()
        assert [row.event.position for row in await group.parked()] == [1]
    await running


async def test_an_unknown_event_stops_the_group_and_keeps_what_is_done(
    log: HardLog, models: ReadModelStore
) -> None:
    log.add("a", [*deposits(CODEC, 2), stranger(), *deposits(CODEC, 1)])
    seen: list[int] = []

    async def handle(event: Event) -> None:
        seen.append(event.position)

    group = group_of(log, models)
    async with group:
        with pytest.raises(UnknownEvent):
            async with asyncio.timeout(WAIT_S):
                await group.run(handle, consumers=3)
    assert set(seen) <= {1, 2}
    skipping = codec_of(Unknown.SKIP)
    async with group_of(log, models, codec=skipping) as group:
        running = asyncio.create_task(group.run(handle))
        await until(lambda: group.statistics().checkpoint == 4)
    await running
    assert seen == [1, 2, 4]


async def test_misuse_raises_errors(log: HardLog, models: ReadModelStore) -> None:
    group = group_of(log, models)
    with pytest.raises(UsageError):
        group.consumer("x")
    await group.open()
    group.consumer("x")
    with pytest.raises(SpecError):
        group.consumer("x")
    with pytest.raises(SpecError):
        group.consumer("y", capacity=0)
    await group.close()
    await group.close()
    with pytest.raises(UsageError):
        group.consumer("z")

    def broken(event: Event) -> str:
        raise LookupError(event.position)

    log.add("a", deposits(CODEC, 1))
    async with group_of(log, models, key=broken) as failing:
        consumer = failing.consumer("x")
        with pytest.raises(InternalError, match="LookupError"):
            await consumer.next(WAIT_S)
