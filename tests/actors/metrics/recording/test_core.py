"""What a source sends: each point once, whatever is lost, in whatever order answers come."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callboard.actors.metrics.points import PointsAccepted, SourceKind
from callboard.actors.metrics.recording.core import POINT_BYTES, Outgoing, Send, ShardPoints
from callboard.actors.metrics.recording.options import RecordingLimits, RecordingOptions
from callboard.actors.metrics.series import MetricKind, SeriesKey
from tests.actors.metrics.recording.shards import MemoryShard
from tests.thoroughness import examples

LIMITS = RecordingLimits(batch_points_max=8, unsent_bytes_max=40_000, refusals_max=3)
OPTIONS = RecordingOptions(shards=2, limits=LIMITS)


def key_of(number: int) -> SeriesKey:
    return SeriesKey(MetricKind.OBSERVATION, f"metric_{number}")


def points_of(numbers: list[int], first: int) -> ShardPoints:
    """Points whose time and value are their own number in the test."""
    count = len(numbers)
    times = np.arange(first, first + count, dtype=np.int64)
    return ShardPoints(np.array(numbers, np.int32), times, times.astype(np.float64))


class Delivery(RuleBasedStateMachine):
    """An `Outgoing` and two shards; messages wait in between until a rule moves them."""

    @initialize(credit=st.sampled_from([3, 20, 1_000_000]))
    def begin(self, credit: int) -> None:
        self.now = 0.0
        self.outgoing = Outgoing(SourceKind.SERVICE, "test", OPTIONS)
        self.shards = [MemoryShard(credit), MemoryShard(credit)]
        self.under_way: list[Send] = []
        self.answers: list[tuple[Send, object]] = []
        self.next = 0
        self.has_lost_state = False

    def pump(self) -> None:
        self.under_way += self.outgoing.due(self.now)

    @rule(shard=st.integers(0, 1), series=st.lists(st.integers(0, 5), min_size=1, max_size=30))
    def give(self, shard: int, series: list[int]) -> None:
        numbers = [self.outgoing.number_of(shard, key_of(each)) for each in series]
        self.outgoing.give(shard, points_of(numbers, self.next))
        self.next += len(series)

    @rule()
    def advance(self) -> None:
        self.outgoing.advance(self.next)

    @rule(seconds=st.sampled_from([0.0, 0.2, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.pump()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), loses_answer=st.booleans())
    def arrive(self, data: st.DataObject, *, loses_answer: bool) -> None:
        place = data.draw(st.integers(0, len(self.under_way) - 1))
        send = self.under_way.pop(place)
        answer = self.shards[send.shard].apply(send.batch)
        if loses_answer:
            self.outgoing.fail(send, self.now, is_refusal=False)
        else:
            self.answers.append((send, answer))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def be_lost(self, data: st.DataObject) -> None:
        send = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.outgoing.fail(send, self.now, is_refusal=False)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def be_refused(self, data: st.DataObject) -> None:
        send = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.outgoing.fail(send, self.now, is_refusal=True)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def be_answered(self, data: st.DataObject) -> None:
        send, answer = self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1)))
        self.outgoing.accept(send, answer, self.now)  # type: ignore[arg-type]
        self.pump()

    @rule(shard=st.integers(0, 1), credit=st.sampled_from([0, 5, 1_000_000]))
    def change_credit(self, shard: int, credit: int) -> None:
        self.shards[shard].credit = credit

    @invariant()
    def every_point_has_one_fate(self) -> None:
        out = self.outgoing
        assert out.given == self.next
        assert out.given == out.accepted + sum(out.dropped.values()) + out.kept
        assert out.unsent_bytes <= LIMITS.unsent_bytes_max

    @invariant()
    def no_point_is_taken_twice(self) -> None:
        for shard in self.shards:
            values = [value for _, _, value in shard.points]
            assert len(values) == len(set(values))
        assert self.outgoing.accepted <= sum(len(shard.points) for shard in self.shards)

    @invariant()
    def no_watermark_is_ahead_of_a_point_that_still_comes(self) -> None:
        assert not any(shard.early for shard in self.shards)

    def teardown(self) -> None:
        """In the end everything arrives that was not dropped."""
        if not hasattr(self, "outgoing"):
            return
        for shard in self.shards:
            shard.credit = 1_000_000
        refused = self.outgoing.dropped.get("refused", 0)
        for _ in range(2_000):
            if not self.outgoing.kept:
                break
            self.now += 10.0
            self.pump()
            for send in self.under_way:
                self.answers.append((send, self.shards[send.shard].apply(send.batch)))
            self.under_way.clear()
            for send, answer in self.answers:
                self.outgoing.accept(send, answer, self.now)  # type: ignore[arg-type]
            self.answers.clear()
        assert self.outgoing.kept == 0 or refused, "a gap of refused points is given up by a shard"
        taken = sum(len(shard.points) for shard in self.shards)
        dropped = sum(self.outgoing.dropped.values())
        # What was refused may have been taken before, when the answer was lost.
        assert self.next - dropped <= taken + self.outgoing.kept
        assert taken <= self.next - self.outgoing.dropped.get("unsent", 0)


Delivery.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=40)
TestDelivery = Delivery.TestCase


# --- single cases -------------------------------------------------------------------------------


def outgoing_with(points: int, shard: int = 0) -> Outgoing:
    outgoing = Outgoing(SourceKind.SERVICE, "test", OPTIONS)
    number = outgoing.number_of(shard, key_of(0))
    outgoing.give(shard, points_of([number] * points, 0))
    return outgoing


def answer(outgoing: Outgoing, shard: MemoryShard, sends: Iterator[Send]) -> None:
    for send in tuple(sends):
        outgoing.accept(send, shard.apply(send.batch), 0.0)


def test_points_travel_in_batches_of_the_size_that_is_allowed() -> None:
    outgoing = outgoing_with(20)
    sends = list(outgoing.due(0.0))
    assert [len(send.batch.values) for send in sends] == [8, 8, 4]
    assert [send.batch.sequence for send in sends] == [0, 8, 16]


def test_series_are_defined_until_the_shard_knows_them() -> None:
    outgoing, shard = outgoing_with(1), MemoryShard()
    (first,) = outgoing.due(0.0)
    assert first.batch.new_series == (key_of(0),)
    outgoing.accept(first, shard.apply(first.batch), 0.0)
    outgoing.give(0, points_of([outgoing.number_of(0, key_of(1))], 1))
    (second,) = outgoing.due(0.0)
    assert (second.batch.first_series, second.batch.new_series) == (1, (key_of(1),))


def test_a_failed_batch_comes_again_under_its_numbers_after_a_pause() -> None:
    outgoing = outgoing_with(3)
    (first,) = outgoing.due(0.0)
    outgoing.fail(first, 0.0, is_refusal=False)
    assert not list(outgoing.due(0.0))
    (again,) = outgoing.due(outgoing.next_s(0.0))
    assert again.batch == first.batch
    assert outgoing.retries == 1


def test_no_credit_means_empty_batches_until_there_is_some() -> None:
    outgoing, shard = outgoing_with(2), MemoryShard(credit=0)
    answer(outgoing, shard, outgoing.due(0.0))
    outgoing.give(0, points_of([0], 2))
    now = 0.0
    for _ in range(3):
        now = max(now, outgoing.next_s(now))
        (probe,) = outgoing.due(now)
        assert len(probe.batch.values) == 0
        outgoing.accept(probe, shard.apply(probe.batch), now)
    shard.credit = 10
    (probe,) = outgoing.due(outgoing.next_s(now))
    outgoing.accept(probe, shard.apply(probe.batch), now)
    (send,) = outgoing.due(now)
    assert send.batch.values.tolist() == [2.0]


def test_too_many_unsent_points_drop_the_oldest_and_are_counted() -> None:
    outgoing = outgoing_with(10)
    list(outgoing.due(0.0))  # Under way, and never dropped.
    for first in range(10, 10_000, 10):
        outgoing.give(0, points_of([0] * 10, first))
    assert outgoing.unsent_bytes <= LIMITS.unsent_bytes_max
    assert outgoing.dropped["unsent"] == outgoing.given - outgoing.kept
    assert outgoing.kept * POINT_BYTES <= LIMITS.unsent_bytes_max + 10 * POINT_BYTES


def test_a_shard_that_is_away_takes_no_room_from_the_others() -> None:
    outgoing = outgoing_with(10)
    for first in range(10, 10_000, 10):
        outgoing.give(0, points_of([0] * 10, first))
    before = outgoing.dropped["unsent"]
    number = outgoing.number_of(1, key_of(0))
    outgoing.give(1, points_of([number] * 10, 10_000))
    sends = [send for send in outgoing.due(0.0) if send.shard == 1]
    assert sends[0].batch.values.tolist()[0] == 10_000.0
    assert outgoing.dropped["unsent"] > before


def test_a_shard_that_lost_its_state_gets_a_source_of_another_name() -> None:
    outgoing, shard = outgoing_with(3), MemoryShard()
    answer(outgoing, shard, outgoing.due(0.0))
    shard.forget()
    outgoing.give(0, points_of([0, 0], 3))
    answer(outgoing, shard, outgoing.due(0.0))
    assert outgoing.generations == 1
    answer(outgoing, shard, outgoing.due(outgoing.next_s(0.0)))
    assert [value for _, _, value in shard.points] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert set(shard.sources) == {"test", "test+1"}
    assert outgoing.kept == 0


def test_a_batch_that_a_shard_fails_with_again_and_again_is_given_up() -> None:
    outgoing = outgoing_with(3)
    now = 0.0
    for _ in range(LIMITS.refusals_max):
        (send,) = outgoing.due(now)
        outgoing.fail(send, now, is_refusal=True)
        now = outgoing.next_s(now)
    assert outgoing.dropped == {"refused": 3}
    assert outgoing.kept == 0


def test_a_source_without_points_still_tells_its_watermark() -> None:
    outgoing, shard = outgoing_with(1), MemoryShard()
    outgoing.advance(5)
    answer(outgoing, shard, outgoing.due(0.0))
    outgoing.advance(1_000)
    assert not list(outgoing.due(1.0))
    (report,) = outgoing.due(OPTIONS.watermark_s)
    assert (len(report.batch.values), report.batch.watermark_ns) == (0, 1_000)


def test_a_watermark_waits_for_the_points_before_it() -> None:
    outgoing, shard = outgoing_with(8), MemoryShard()
    outgoing.advance(8)
    outgoing.give(0, points_of([0], 8))
    outgoing.advance(9)
    first, second = outgoing.due(0.0)
    assert (first.batch.watermark_ns, second.batch.watermark_ns) == (8, 0)
    outgoing.fail(second, 0.0, is_refusal=False)
    outgoing.accept(first, shard.apply(first.batch), 0.0)
    (again,) = outgoing.due(0.0)
    assert again.batch.watermark_ns == 9


@pytest.mark.parametrize("sequence", [10, 2**62])
def test_an_answer_that_accepts_more_than_was_sent_begins_again(sequence: int) -> None:
    outgoing, shard = outgoing_with(3), MemoryShard()
    (send,) = outgoing.due(0.0)
    wrong = shard.apply(send.batch).model_copy(update={"sequence": sequence})
    outgoing.accept(send, wrong, 0.0)
    assert (outgoing.generations, outgoing.kept) == (1, 3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["answer", "fail", "refuse", "give", "wait"]),
            st.integers(-(2**63), 2**63 - 1) | st.integers(0, 40),
            st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4),
            st.integers(-(2**63), 2**63 - 1) | st.integers(0, 40),
        ),
        max_size=40,
    )
)
def test_answers_that_make_no_sense_lose_no_point_without_a_count(
    steps: list[tuple[str, int, int, int]],
) -> None:
    outgoing, now, under_way = outgoing_with(30), 0.0, list[Send]()
    for step, sequence, series, credit in steps:
        under_way += outgoing.due(now)
        if step == "wait":
            now = outgoing.next_s(now)
        elif step == "give":
            outgoing.give(0, points_of([0] * 5, outgoing.given))
        elif under_way:
            send = under_way.pop(0)
            if step == "answer":
                answer = PointsAccepted(sequence=sequence, series=series, credit=credit)
                outgoing.accept(send, answer, now)
            else:
                outgoing.fail(send, now, is_refusal=step == "refuse")
        assert outgoing.given == outgoing.accepted + sum(outgoing.dropped.values()) + outgoing.kept
        assert outgoing.next_s(now) > now
        assert all(send.batch.first_series >= 0 for send in under_way)
