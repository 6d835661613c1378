"""Deadlines: never early, late by at most a bucket, and safe to change while they expire."""

import math
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from callboard.actors.kernel.deadlines import BUCKET_S, BUCKETS_KEPT, Deadlines
from tests.thoroughness import examples

ROUNDING_S: Final = 1e-9
"""What a few hours in seconds lose in a float."""


class Item:
    """An item with a deadline that records its expiry."""

    def __init__(self, at_s: float = 0.0, then: Callable[[], Any] = lambda: None) -> None:
        self.at_s = at_s
        self.bucket = -1
        self.times = 0
        self.then = then

    def expired(self) -> None:
        assert self.bucket == -1
        self.times += 1
        self.then()


def added(deadlines: Deadlines, at_s: float, then: Callable[[], Any] = lambda: None) -> Item:
    item = Item(at_s, then)
    deadlines.add(item, at_s)
    return item


class DeadlinesModel(RuleBasedStateMachine):
    """Deadlines against a plain list of the waiting items."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines = Deadlines()
        self.now_s = 0.0
        self.waiting: list[Item] = []
        self.gone: list[Item] = []

    @rule(after_s=st.floats(-1.0, 10.0), few=st.integers(1, 5))
    def add(self, after_s: float, few: int) -> None:
        before = self.deadlines.next_expiry_s()
        for _ in range(few):
            item = Item(max(self.now_s + after_s, 0.0))
            is_earlier = self.deadlines.add(item, item.at_s)
            now_next = self.deadlines.next_expiry_s()
            assert now_next is not None
            assert is_earlier == (before is None or now_next < before)
            before = now_next
            self.waiting.append(item)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(item)
        self.deadlines.remove(item)
        self.gone.append(item)

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def remove_again(self, data: st.DataObject) -> None:
        self.deadlines.remove(data.draw(st.sampled_from(self.gone)))

    @rule(step_s=st.floats(0.0, 3.0))
    def time_passes(self, step_s: float) -> None:
        self.expire(self.now_s + step_s)

    @rule()
    def timer_fires(self) -> None:
        at_s = self.deadlines.next_expiry_s()
        assert (at_s is None) == (not self.waiting)
        if at_s is not None:
            waiting = len(self.waiting)
            self.expire(max(at_s, self.now_s))
            assert len(self.waiting) < waiting, "a timer that fires on time must find its work"

    def expire(self, now_s: float) -> None:
        self.now_s = now_s
        counts = {item: item.times for item in self.gone}
        self.deadlines.expire(now_s)
        for item in self.waiting:
            if item.times:
                assert item.times == 1
                assert item.at_s <= now_s, "never early"
                self.gone.append(item)
            else:
                assert item.at_s + BUCKET_S + ROUNDING_S > now_s, "late by at most a bucket"
        self.waiting = [item for item in self.waiting if not item.times]
        assert all(item.times == times for item, times in counts.items()), "not twice"

    @invariant()
    def counts_the_waiting_items(self) -> None:
        assert len(self.deadlines) == len(self.waiting)

    @invariant()
    def the_next_expiry_is_that_of_the_first(self) -> None:
        at_s = self.deadlines.next_expiry_s()
        if at_s is not None:
            first_s = min(item.at_s for item in self.waiting)
            assert first_s <= at_s <= first_s + BUCKET_S + ROUNDING_S


TestDeadlinesModel = DeadlinesModel.TestCase
TestDeadlinesModel.settings = settings(max_examples=examples(150), stateful_step_count=40)


@settings(max_examples=examples(2_000))
@given(at_s=st.floats(0.0, 1e6))
def test_an_item_expires_at_its_next_expiry_and_not_before(at_s: float) -> None:
    deadlines = Deadlines()
    item = added(deadlines, at_s)
    next_s = deadlines.next_expiry_s()
    assert next_s is not None
    deadlines.expire(math.nextafter(next_s, 0.0))
    assert item.times == 0
    deadlines.expire(next_s)
    assert item.times == 1


def test_every_bucket_expires_at_its_own_time() -> None:
    """Dividing the time by the width of a bucket rounds down for one bucket in twenty."""
    for number in range(1, 200_000, 7):
        deadlines = Deadlines()
        item = added(deadlines, (number - 0.5) * BUCKET_S)
        deadlines.expire(deadlines.next_expiry_s() or 0.0)
        assert item.times == 1, number


def test_earlier_buckets_expire_first_and_a_bucket_in_the_order_of_adding() -> None:
    order: list[str] = []
    deadlines = Deadlines()
    for at_s, name in ((3.0, "d"), (1.0, "a"), (2.0, "c"), (1.0, "b")):
        added(deadlines, at_s, lambda name=name: order.append(name))  # type: ignore[misc]
    deadlines.expire(10.0)
    assert order == ["a", "b", "c", "d"]


@pytest.mark.parametrize("apart_s", [0.0, 0.1])
def test_an_item_that_an_expiry_removes_does_not_expire(apart_s: float) -> None:
    deadlines = Deadlines()
    first = added(deadlines, 1.0, lambda: deadlines.remove(second))
    second = added(deadlines, 1.0 + apart_s)
    deadlines.expire(2.0)
    assert (first.times, second.times, len(deadlines)) == (1, 0, 0)


@pytest.mark.parametrize("at_s", [0.5, 1.0, 1.5])
def test_a_due_item_that_an_expiry_adds_expires_in_the_same_call(at_s: float) -> None:
    deadlines = Deadlines()
    late = Item()
    added(deadlines, 1.0, lambda: deadlines.add(late, at_s))
    deadlines.expire(2.0)
    assert (late.times, len(deadlines)) == (1, 0)


def test_a_later_item_that_an_expiry_adds_waits() -> None:
    deadlines = Deadlines()
    again = Item()
    again.then = lambda: deadlines.add(again, 5.0)
    deadlines.add(again, 1.0)
    deadlines.expire(2.0)
    assert (again.times, len(deadlines)) == (1, 1)


def test_an_item_that_an_expiry_removes_and_adds_again_expires_once() -> None:
    deadlines = Deadlines()

    def renew() -> None:
        deadlines.remove(other)
        deadlines.next_expiry_s()
        deadlines.add(other, 1.0)

    added(deadlines, 1.0, renew)
    other = added(deadlines, 1.0)
    deadlines.expire(2.0)
    assert (other.times, len(deadlines)) == (1, 0)


def test_an_expiry_may_expire() -> None:
    deadlines = Deadlines()
    added(deadlines, 1.0, lambda: deadlines.expire(2.0))
    others = [added(deadlines, 1.0), added(deadlines, 1.5)]
    deadlines.expire(2.0)
    assert [item.times for item in others] == [1, 1]


def test_an_expiry_that_raises_keeps_the_others() -> None:
    deadlines = Deadlines()

    def broken() -> None:
        raise LookupError

    first = added(deadlines, 1.0, broken)
    others = [added(deadlines, 1.0), added(deadlines, 1.5)]
    with pytest.raises(LookupError):
        deadlines.expire(2.0)
    deadlines.expire(2.0)
    assert [item.times for item in (first, *others)] == [1, 1, 1]


def test_buckets_of_long_deadlines_that_were_all_removed_do_not_pile_up() -> None:
    """An ask a second with an hour to answer: each is answered, none may leave a bucket."""
    deadlines = Deadlines()
    kept = added(deadlines, 3_600.0)
    for number in range(10 * BUCKETS_KEPT):
        item = added(deadlines, 3_600.0 + number * BUCKET_S * 2)
        deadlines.remove(item)
    assert len(deadlines._buckets) <= BUCKETS_KEPT + 1
    assert len(deadlines._heap) == len(deadlines._buckets)
    deadlines.expire(4_000.0)
    assert kept.times == 1


def test_nothing_waits_at_first_and_removing_a_stranger_does_nothing() -> None:
    deadlines = Deadlines()
    deadlines.remove(Item())
    deadlines.expire(1e9)
    assert deadlines.next_expiry_s() is None
    assert len(deadlines) == 0
