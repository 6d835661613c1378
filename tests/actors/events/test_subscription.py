"""Subscriptions: every event once and in order, for slow readers and after any failure."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.events.codec import Unknown
from callboard.actors.events.log import FollowedLog
from callboard.actors.events.subscription import core as core_module
from callboard.actors.events.subscription.core import (
    RETRY,
    Filter,
    Mode,
    Page,
    SubscriptionCore,
    Tail,
)
from callboard.actors.events.subscription.reader import Follower, LogReader, SubscriptionLimits
from callboard.actors.events.subscription.subscription import Subscription
from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import DeadlineExceeded, HostLost, SpecError, UsageError
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable, UnknownEvent
from callboard.messages.storage.events import NewEvent, RecordedEvent
from callboard.runtime.stores.memory import MemoryEventStore
from callboard.runtime.stores.sqlite import SqliteEventStore
from tests.thoroughness import examples

from .ledger import WAIT_S, Deposited, HardLog, codec_of, deposits, journal, stranger, until

STREAMS = ("a", "b", "c")
KINDS = ("made", "moved")
SMALL = SubscriptionLimits(page_events=3, tail_events=5, idle_s=0.05)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-offs of a few milliseconds."""
    monkeypatch.setattr(core_module, "RETRY", Backoff(min_s=0.002, max_s=5.0))


# --- any run of the core, against a plain list ------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2), st.integers(1, 8)),
        st.tuples(st.just("read"), st.sets(st.integers(0, 4), min_size=1), st.just(0)),
        st.tuples(st.just("fail"), st.integers(1, 3), st.just(0)),
        st.tuples(st.just("page"), st.integers(1, 4), st.just(0)),
    ),
    max_size=40,
)


class Run:
    """A log, its follower, and subscriptions with the events that they must deliver."""

    def __init__(self, afters: list[int]) -> None:
        self.log = HardLog()
        self.follower = Follower(self.log, SMALL)
        streams = [Filter(stream="a"), Filter(stream="b")]
        filters = [Filter(), Filter(), *streams, Filter(kinds=("made",))]
        self.afters = afters
        self.readers = [
            LogReader(self.follower, f, a) for f, a in zip(filters, afters, strict=True)
        ]
        self.had: list[list[RecordedEvent]] = [[] for _ in self.readers]
        self.count = 0

    def add(self, stream: int, count: int) -> None:
        self.count += count
        ids = range(self.count - count, self.count)
        events = [NewEvent(n.to_bytes(16, "big"), KINDS[n % 3 == 0], b"") for n in ids]
        self.log.add(STREAMS[stream], events)

    async def read(self, number: int) -> bool:
        reader = self.readers[number]
        try:
            page = await reader.next_page()
        except StoreUnavailable:
            reader.core.note_failure()
            return True
        assert len(page.events) <= SMALL.page_events
        self.had[number] += page.events
        return bool(page.events) or reader.is_behind

    def expected(self, number: int) -> list[int]:
        taken, after = self.readers[number].core.filter, self.afters[number]
        events = self.log.store.read(0, 10_000)
        if taken.stream is not None:
            return [e.position for e in events if e.stream == taken.stream and e.version > after]
        kinds = taken.kinds
        return [e.position for e in events if e.position > after and (not kinds or e.kind in kinds)]

    def check(self, *, at_end: bool) -> None:
        for number, had in enumerate(self.had):
            positions, expected = [event.position for event in had], self.expected(number)
            assert positions == expected[: len(positions)]
            assert self.readers[number].core.delivered == len(positions)
            if at_end:
                assert positions == expected
                assert not self.readers[number].is_behind


@settings(max_examples=examples(250))
@given(steps=STEPS, afters=st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_any_run_hands_over_every_event_once_in_order(
    steps: list[tuple[str, object, int]], afters: list[int]
) -> None:
    async def play() -> None:
        run = Run(afters)
        for step in steps:
            match step:
                case ("add", int(stream), count):
                    run.add(stream, count)
                case ("read", set(numbers), _):
                    await asyncio.gather(*(run.read(number) for number in numbers))
                case ("fail", int(times), _):
                    run.log.faults.extend(StoreUnavailable("gone") for _ in range(times))
                case ("page", int(size), _):
                    run.log.page_max = size
                case _:
                    raise AssertionError(step)
            run.check(at_end=False)
        run.log.add("c", [NewEvent(b"\xff" * 16, "last", b"")])
        run.log.faults.clear()
        for number in range(len(run.readers)):
            for _ in range(1_000):
                if not await run.read(number):
                    break
        run.check(at_end=True)

    asyncio.run(play())


# --- what must not happen is seen -------------------------------------------------------------


def numbered(*positions: int, stream: str = "a") -> list[RecordedEvent]:
    return [RecordedEvent(p, stream, p, b"", "made", 1, b"", b"", 0.0) for p in positions]


@pytest.mark.parametrize("positions", [(2,), (1, 3), (1, 1), (2, 1), ()])
@pytest.mark.parametrize("taken", [Filter(), Filter(stream="a")])
def test_a_page_with_a_gap_or_a_repeat_is_damage(taken: Filter, positions: tuple[int, ...]) -> None:
    core = SubscriptionCore(taken, 0)
    if not positions and taken.stream is not None:
        assert core.take_read([], 5) == []  # None of that stream: no damage.
        return
    with pytest.raises(StoreDamaged):
        core.take_read(numbered(*positions), 5)
    assert (core.seen, core.delivered) == (0, 0)


def test_an_empty_page_at_the_head_is_no_gap() -> None:
    core = SubscriptionCore(Filter(), 5)
    assert core.take_read([], 5) == []
    assert core.take_read([], 3) == []
    assert (core.seen, core.failed_in_a_row) == (5, 0)


def test_a_subscription_counts_what_became_of_it() -> None:
    core = SubscriptionCore(Filter(stream="a"), 2)
    assert (core.seen, core.version) == (0, 2)
    core.follow(is_in_tail=False)
    assert (core.mode, core.fallbacks) == (Mode.CATCHING_UP, 0)
    core.follow(is_in_tail=True)
    core.follow(is_in_tail=True)
    core.follow(is_in_tail=False)
    assert (core.mode, core.fallbacks) == (Mode.CATCHING_UP, 1)
    assert [core.note_failure(), core.note_failure()] == [RETRY.delay_s(1), RETRY.delay_s(2)]
    assert (core.mode, core.failures, core.failed_in_a_row) == (Mode.WAITING_FOR_STORE, 2, 2)
    assert core.take_read(numbered(3, 4), 9) == numbered(3, 4)
    assert (core.failures, core.failed_in_a_row, core.version, core.seen) == (2, 0, 4, 4)
    assert core.take_tail(Page(numbered(3, 4, 5), 7)) == numbered(5)
    assert core.take_tail(Page([], 6)) == []
    assert (core.version, core.seen, core.delivered) == (5, 7, 3)


def test_a_page_of_the_tail_ends_at_its_limit_or_at_the_tails_end() -> None:
    tail = Tail(9)
    tail.begin(4)
    assert (tail.start, tail.end, tail.covers(4), tail.covers(5)) == (4, 4, True, False)
    tail.add(numbered(5, 6, 7, 8))
    assert tail.page(4, 2, None) == Page(numbered(5, 6), 6)
    assert tail.page(6, 2, None) == Page(numbered(7, 8), 8)
    assert tail.page(4, 9, lambda event: event.position % 2 == 0) == Page(numbered(6, 8), 8)
    assert tail.page(8, 9, None) == Page([], 8)


def test_kinds_never_go_back() -> None:
    core = SubscriptionCore(Filter(kinds=("made",)), 4)
    assert core.take_read(numbered(6, 9), 20) == numbered(6, 9)
    assert core.seen == 9, "a page shorter than asked for says nothing of what is behind it"
    with pytest.raises(StoreDamaged):
        core.take_read(numbered(9), 20)
    assert core.take_read([], 20) == []
    assert core.seen == 20


def test_the_tail_takes_only_what_follows() -> None:
    tail = Tail(3)
    tail.add(numbered(1, 2))
    for wrong in (numbered(4), numbered(2), []):
        with pytest.raises(StoreDamaged):
            tail.add(wrong)
    tail.add(numbered(3, 4))
    assert (tail.start, tail.end) == (1, 4)
    assert not tail.covers(0)
    assert [e.position for e in tail.page(2, 10, None).events] == [3, 4]


@pytest.mark.parametrize("options", [{"stream": "a", "kinds": ("b",)}, {"kinds": ()}])
def test_filters_that_say_nothing(options: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        Filter(**options)  # type: ignore[arg-type]


# --- over a journal ---------------------------------------------------------------------------


async def take(subscription: Subscription, count: int) -> list[int]:
    """The positions of the next events."""
    found: list[int] = []
    async with asyncio.timeout(WAIT_S):
        async for event in subscription:
            found.append(event.position)
            if len(found) == count:
                break
    return found


async def test_first_the_past_then_live() -> None:
    codec = codec_of()
    async with journal() as log:
        await log.append("a", deposits(codec, 50))
        follower = Follower(log, SubscriptionLimits(page_events=20))
        async with Subscription(follower, codec, after=10) as subscription:
            assert await take(subscription, 40) == list(range(11, 51))
            waiting = asyncio.create_task(subscription.next(WAIT_S))
            await until(lambda: subscription.statistics().mode is Mode.LIVE)
            await log.append("b", deposits(codec, 1, first=77))
            event = await waiting
            assert event.body == Deposited(amount=77)
            now = subscription.statistics()
            assert (now.seen, now.lag_positions, now.delivered) == (51, 0, 41)
        follower.close()


async def test_one_read_serves_all_that_are_live() -> None:
    codec = codec_of()
    log = HardLog()
    follower = Follower(log, SubscriptionLimits(idle_s=60.0))
    subscriptions = [Subscription(follower, codec) for _ in range(20)]
    log.add("a", deposits(codec, 1))
    await asyncio.gather(*(take(each, 1) for each in subscriptions))
    reads = log.reads
    tasks = [asyncio.create_task(take(each, 1)) for each in subscriptions]
    await asyncio.sleep(0)
    log.add("a", deposits(codec, 1))
    assert await asyncio.gather(*tasks) == [[2]] * 20
    assert log.reads == reads + 1
    follower.close()


async def test_concurrent_writers_with_readers_of_all_kinds() -> None:
    codec = codec_of()
    async with journal() as log:
        follower = Follower(log, SubscriptionLimits(page_events=7, tail_events=20, idle_s=0.05))
        everything = [Subscription(follower, codec) for _ in range(3)]
        one = Subscription(follower, codec, stream="s1", after=5)
        kind = Subscription(follower, codec, kinds=["tests.events.deposited"], after=100)

        async def write(number: int) -> None:
            for _ in range(25):
                await log.append(f"s{number}", deposits(codec, 2))

        readers = [asyncio.create_task(take(each, 400)) for each in everything]
        readers += [asyncio.create_task(take(one, 45)), asyncio.create_task(take(kind, 300))]
        await asyncio.gather(*(write(number) for number in range(8)))
        found = await asyncio.gather(*readers)
        assert found[:3] == [list(range(1, 401))] * 3
        in_stream = await log.read_stream("s1", after=5)
        assert found[3] == [event.position for event in in_stream]
        assert found[4] == list(range(101, 401))
        follower.close()


async def test_a_slow_reader_holds_one_page_and_goes_back_to_the_store() -> None:
    codec = codec_of()
    log = HardLog()
    follower = Follower(log, SMALL)
    slow, fast = Subscription(follower, codec), Subscription(follower, codec)
    log.add("a", deposits(codec, 2))
    assert await take(slow, 2) == await take(fast, 2) == [1, 2]
    assert slow.statistics().mode is Mode.LIVE
    for _ in range(20):
        log.add("a", deposits(codec, 2))
        await take(fast, 2)
    assert (await slow.next(WAIT_S)).position == 3
    now = slow.statistics()
    assert (now.mode, now.fallbacks) == (Mode.CATCHING_UP, 1)
    assert now.buffered <= SMALL.page_events
    assert fast.statistics().fallbacks == 0
    assert await take(slow, 39) == list(range(4, 43))
    await slow.next_page(0.01)
    assert slow.statistics().mode is Mode.LIVE
    follower.close()


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("fault", [StoreUnavailable("gone"), HostLost("its host died")])
async def test_a_store_that_fails_is_waited_for(fault: Exception) -> None:
    codec = codec_of()
    log = HardLog()
    follower = Follower(log, SMALL)
    log.add("a", deposits(codec, 10))
    log.faults.extend([fault] * 4)
    subscription = Subscription(follower, codec)
    reading = asyncio.create_task(take(subscription, 10))
    await until(lambda: subscription.statistics().failures > 0)
    assert subscription.statistics().mode is Mode.WAITING_FOR_STORE
    assert await reading == list(range(1, 11))
    assert subscription.statistics().failures == 4
    follower.close()


def test_the_back_off_doubles_up_to_its_bound() -> None:
    core = SubscriptionCore(Filter(), 0)
    waits = [core.note_failure() for _ in range(8)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    core.take_read(numbered(1), 1)
    assert core.note_failure() == 0.1
    assert core.failures == 9


@pytest.mark.usefixtures("_quick")
async def test_a_read_that_hangs_is_tried_again() -> None:
    codec = codec_of()
    log = HardLog()
    log.gate.clear()
    log.add("a", deposits(codec, 1))
    follower = Follower(log, SubscriptionLimits(read_timeout_s=0.01))
    subscription = Subscription(follower, codec)
    reading = asyncio.create_task(take(subscription, 1))
    await until(lambda: subscription.statistics().failures >= 2)
    log.gate.set()
    assert await reading == [1]
    follower.close()


async def test_it_closes_though_its_log_does_not_answer() -> None:
    log = HardLog()
    log.gate.clear()
    log.add("a", deposits(codec_of(), 1))
    alone = Subscription(log, codec_of())
    async with Follower(log) as follower:
        shared = [Subscription(follower, codec_of()) for _ in range(2)]
        readers = [asyncio.create_task(take(each, 1)) for each in (alone, *shared)]
        await until(lambda: log.reads == 2)  # Of the two that share it, one reads.
        alone.close()
        shared[0].close()
        async with asyncio.timeout(WAIT_S):
            assert await readers[0] == await readers[1] == []
        log.gate.set()
        assert await readers[2] == [1]


async def test_damage_is_raised() -> None:
    log = HardLog()
    log.add("a", deposits(codec_of(), 1))
    log.faults.append(StoreDamaged("broken"))
    follower = Follower(log)
    with pytest.raises(StoreDamaged):
        await Subscription(follower, codec_of()).next(WAIT_S)
    follower.close()


async def test_an_unknown_event_stops_it_behind_what_comes_before() -> None:
    codec, log = codec_of(), HardLog()
    log.add("a", [*deposits(codec, 2), stranger(), *deposits(codec, 1)])
    follower = Follower(log)
    for subscription in (Subscription(follower, codec), Subscription(follower, codec)):
        assert [event.position for event in await subscription.next_page(WAIT_S)] == [1, 2]
        for _ in range(2):
            with pytest.raises(UnknownEvent):
                await subscription.next_page(WAIT_S)
            with pytest.raises(UnknownEvent):
                await subscription.next(WAIT_S)
        assert subscription.position == 2
    skipping = codec_of(Unknown.SKIP)
    assert await take(Subscription(follower, skipping), 3) == [1, 2, 4]
    assert skipping.skipped == {("tests.events.stranger", 1): 1}
    follower.close()


async def test_an_end_by_time_and_by_closing() -> None:
    codec, log = codec_of(Unknown.SKIP), HardLog()
    follower = Follower(log, SubscriptionLimits(idle_s=60.0))
    subscription = Subscription(follower, codec)
    log.add("a", [stranger()])
    assert await subscription.next_page(0.01) == []
    with pytest.raises(DeadlineExceeded):
        await subscription.next(0.01)
    reading = asyncio.create_task(subscription.next(WAIT_S))
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="two tasks"):
        await subscription.next(0.01)
    subscription.close()
    with pytest.raises(UsageError, match="closed"):
        await reading
    assert await subscription.next_page() == []
    # Closing the follower ends those that wait for a commit, and those that wait for the store.
    log.faults.extend(StoreUnavailable("gone") for _ in range(100))
    waits = Subscription(follower, codec, after=1)
    failing = Follower(log)
    backs_off = Subscription(failing, codec)
    tasks = [asyncio.create_task(take(each, 1)) for each in (waits, backs_off)]
    await until(lambda: backs_off.statistics().failures > 1)
    follower.close()
    failing.close()
    async with asyncio.timeout(WAIT_S):
        assert await asyncio.gather(*tasks) == [[], []]


# --- a log that another process writes --------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_log_of_another_writer(kind: str, tmp_path: Path) -> None:
    codec = codec_of()
    if kind == "memory":
        writing = MemoryEventStore()
        reading = writing.second_handle()
    else:
        writing, reading = (  # type: ignore[assignment]
            SqliteEventStore(tmp_path / "log.db", durability="off") for _ in range(2)
        )
    async with journal(writing) as log:
        await log.append("a", deposits(codec, 3))
        followed = FollowedLog(reading, poll_s=0.005)
        await followed.open()
        assert followed.head == 3
        follower = Follower(followed)
        subscription = Subscription(follower, codec)
        assert await take(subscription, 3) == [1, 2, 3]
        task = asyncio.create_task(take(subscription, 20))
        for _ in range(10):
            await log.append("b", deposits(codec, 2))
        assert await task == list(range(4, 24))
        follower.close()
        await followed.close()
        reading.close()


class Shaky(MemoryEventStore):
    """Its head cannot be read for a while."""

    faults = 0

    def head(self) -> int:
        if self.faults:
            self.faults -= 1
            raise StoreUnavailable("gone") if self.faults % 2 else RuntimeError("unforeseen")
        return super().head()


async def test_polls_that_fail_are_counted_and_go_on() -> None:
    codec, store = codec_of(), Shaky()
    async with journal(store) as log:
        followed = FollowedLog(store, poll_s=0.002)
        await followed.open()
        follower = Follower(followed, SubscriptionLimits(idle_s=0.01))
        store.faults = 4
        await log.append("a", deposits(codec, 1))
        assert await take(Subscription(follower, codec), 1) == [1]
        assert followed.failures == 4
        follower.close()
        await followed.close()


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    codec, log = codec_of(), HardLog()
    follower = Follower(log, SubscriptionLimits(page_events=2))
    subscription = Subscription(follower, codec)
    found: list[int] = []
    log.add("a", deposits(codec, 30))
    for steps in range(60):
        task = asyncio.create_task(subscription.next(WAIT_S))
        for _ in range(steps % 5):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            found.append((await task).position)
        if len(found) == 30:
            break
    else:
        found += await take(subscription, 30 - len(found))
    assert found == list(range(1, 31))
    follower.close()
