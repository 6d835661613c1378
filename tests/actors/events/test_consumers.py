"""The core of a group of consumers: random runs against a plain model."""

from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from callboard.actors.events.consumers.core import (
    STALE_MAX,
    ConsumersCore,
    ConsumersLimits,
    Deliver,
    Effect,
    Park,
    State,
)
from callboard.messages.core.errors import SpecError
from tests.thoroughness import examples

LIMITS: Final = ConsumersLimits(
    window_max=6, attempts_max=3, ack_timeout_s=10.0, backoff_s_min=1.0, backoff_s_max=2.0
)
NAMES: Final = ("x", "y", "z")
KEYS: Final = (None, "k", "l")


class Delivered:
    """The model of an event that is neither done nor parked."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.attempts = 0
        self.consumer = ""
        self.ends_s = 0.0
        """When its ack, or its back-off, is over."""


class Group(RuleBasedStateMachine):
    """A group, its consumers, its log, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.core = ConsumersCore(LIMITS, 0)
        self.log: dict[int, str | None] = {}
        """Every event of the group that was ever taken in: its position and key."""
        self.seen = 0
        self.finished: set[int] = set()
        """Done or parked once, so that it holds up no other event."""
        self.done: set[int] = set()
        self.parked: set[int] = set()
        self.open: dict[int, Delivered] = {}
        self.open_by_key: dict[str, list[int]] = {}
        self.capacities: dict[str, int] = {}
        self.stale: list[tuple[str, int, int]] = []
        """Deliveries whose time is over: name, position, attempt."""

    # --- the model ----------------------------------------------------------------------------

    def enter(self, position: int, key: str | None) -> None:
        self.open[position] = Delivered(key)
        if key is not None:
            self.open_by_key.setdefault(key, []).append(position)

    def leave(self, position: int) -> None:
        gone = self.open.pop(position)
        if gone.key is not None:
            assert self.open_by_key[gone.key].pop(0) == position, "out of its key's order"
        self.finished.add(position)

    def fail(self, position: int, effects: list[Effect]) -> None:
        """An attempt has failed: the event waits, or is parked, which must be reported."""
        event = self.open[position]
        self.stale.append((event.consumer, position, event.attempts))
        event.consumer = ""
        if event.attempts < LIMITS.attempts_max:
            event.ends_s = self.now + min(2.0, 2.0 ** (event.attempts - 1))
            return
        (park,) = (e for e in effects if isinstance(e, Park) and e.position == position)
        assert park.attempts == LIMITS.attempts_max <= len(park.reasons), "with earlier ones"
        effects.remove(park)
        self.leave(position)
        self.parked.add(position)

    def take(self, effects: list[Effect]) -> None:
        """Check that a delivered event was ready, the first of its key, and fits its consumer."""
        for effect in effects:
            assert isinstance(effect, Deliver), "parked without a reason"
            event = self.open[effect.position]
            assert not event.consumer, "two consumers have it"
            assert event.attempts == 0 or event.ends_s <= self.now, "its back-off is not over"
            assert event.key is None or self.open_by_key[event.key][0] == effect.position
            event.attempts += 1
            assert effect.attempt == event.attempts
            event.consumer, event.ends_s = effect.consumer, self.now + LIMITS.ack_timeout_s
            held = [e for e in self.open.values() if e.consumer == effect.consumer]
            assert len(held) <= self.capacities[effect.consumer]

    def in_flight(self) -> list[int]:
        return sorted(position for position, event in self.open.items() if event.consumer)

    # --- what happens -------------------------------------------------------------------------

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=6), gap=st.integers(1, 3))
    def arrive(self, keys: list[str | None], gap: int) -> None:
        assert self.core.room >= 0
        some: list[tuple[int, str | None]] = []
        for key in keys[: self.core.room]:
            self.seen += gap
            some.append((self.seen, key))
            self.log[self.seen] = key
            self.enter(self.seen, key)
        self.take(self.core.take_in(some, self.now))

    @rule(more=st.integers(0, 3))
    def pass_over(self, more: int) -> None:
        self.seen += more
        self.core.skip_to(self.seen)

    @rule(name=st.sampled_from(NAMES), capacity=st.integers(1, 3))
    def join(self, name: str, capacity: int) -> None:
        if name in self.capacities:
            with pytest.raises(SpecError):
                self.core.add_consumer(name, capacity, self.now)
            return
        self.capacities[name] = capacity
        self.take(self.core.add_consumer(name, capacity, self.now))

    @rule(name=st.sampled_from(NAMES))
    def go(self, name: str) -> None:
        self.capacities.pop(name, None)
        effects = self.core.remove_consumer(name, self.now)
        for position in self.in_flight():
            if self.open[position].consumer == name:
                self.fail(position, effects)
        self.take(effects)

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        position = data.draw(st.sampled_from(self.in_flight()))
        event = self.open[position]
        taken, effects = self.core.ack(event.consumer, position, event.attempts, self.now)
        assert taken
        self.stale.append((event.consumer, position, event.attempts))
        self.leave(position)
        self.parked.discard(position)
        self.done.add(position)
        self.take(effects)

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data())
    def nack(self, data: st.DataObject) -> None:
        position = data.draw(st.sampled_from(self.in_flight()))
        event = self.open[position]
        taken, effects = self.core.nack(event.consumer, position, event.attempts, "no", self.now)
        assert taken
        self.fail(position, effects)
        self.take(effects)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), good=st.booleans())
    def answer_too_late(self, data: st.DataObject, good: bool) -> None:
        name, position, attempt = data.draw(st.sampled_from(self.stale))
        event = self.open.get(position)
        if event is not None and (event.consumer, event.attempts) == (name, attempt):
            return  # It was replayed, and given to the same one: this is its answer.
        late = self.core.late
        if good:
            assert self.core.ack(name, position, attempt, self.now) == (False, [])
        else:
            assert self.core.nack(name, position, attempt, "no", self.now) == (False, [])
        assert self.core.late == late + 1

    @rule(passes_s=st.sampled_from((0.0, 0.5, 1.0, 5.0, 10.0, 30.0)))
    def time(self, passes_s: float) -> None:
        """To the end of that time, tick by tick as the shell would."""
        ends_s = self.now + passes_s
        for _ in range(1_000):
            due_s = self.core.due_s
            timed = [self.open[p].ends_s for p in self.open if self.is_timed(p)]
            assert not timed or (due_s is not None and due_s <= min(timed))
            if due_s is None or due_s > ends_s:
                break
            self.now = max(self.now, due_s)
            timeouts = [p for p in self.in_flight() if self.open[p].ends_s <= self.now]
            effects = self.core.tick(self.now)
            for position in timeouts:
                self.fail(position, effects)
            self.take(effects)
        else:
            raise AssertionError("time stands still")
        self.now = ends_s

    def is_timed(self, position: int) -> bool:
        """Whether something happens when its time is over; a ready one waits for room alone."""
        return self.core.entries[position].state in {State.IN_FLIGHT, State.WAITING}

    @precondition(lambda self: self.parked - self.open.keys())
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        position = data.draw(st.sampled_from(sorted(self.parked - self.open.keys())))
        self.enter(position, self.log[position])
        self.take(self.core.replay(position, self.now))

    @precondition(lambda self: self.parked - self.open.keys())
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        position = data.draw(st.sampled_from(sorted(self.parked - self.open.keys())))
        self.core.drop(position)
        self.parked.discard(position)
        self.done.add(position)

    @rule()
    def restart(self) -> None:
        """Another process takes over at the saved state."""
        before = self.core
        self.core = ConsumersCore(LIMITS, before.checkpoint, before.done_above())
        for position in sorted(self.parked):
            self.core.keep_parked(position, self.log[position], ["earlier"])
        self.capacities, self.stale = {}, []
        self.open, self.open_by_key = {}, {}
        rest = [position for position in sorted(self.log) if position > before.checkpoint]
        for position in rest:
            if position not in self.finished:
                self.enter(position, self.log[position])
        self.take(self.core.take_in([(p, self.log[p]) for p in rest], self.now))
        self.core.skip_to(self.seen)

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        self.core.validate_state()
        assert set(self.core.parked) == self.parked - self.open.keys()
        assert set(self.core.entries) == set(self.open)
        assert set(self.log) == self.done | self.parked | set(self.open)
        assert not self.done & self.parked

    @invariant()
    def the_checkpoint_is_right(self) -> None:
        held = [position for position in self.log if position not in self.finished]
        highest = min(held) - 1 if held else self.core.taken
        assert self.core.checkpoint == highest
        above = {p for p in self.finished if p > highest}
        assert set(self.core.done_above()) == above
        assert self.core.first_open == (min(held) if held else None)

    @invariant()
    def who_has_room_has_work(self) -> None:
        held = [event.consumer for event in self.open.values()]
        free = [name for name in self.capacities if held.count(name) < self.capacities[name]]
        heads = [
            position
            for position, event in self.open.items()
            if not event.consumer
            and not event.attempts
            and (event.key is None or self.open_by_key[event.key][0] == position)
        ]
        assert not (free and heads)

    def teardown(self) -> None:
        """One good consumer, and enough time, finish everything."""
        for name in NAMES:
            self.go(name)
        self.time(30.0)
        self.join("x", 3)
        for _ in range(1_000):
            if not self.in_flight():
                break
            position = self.in_flight()[0]
            event = self.open[position]
            _, effects = self.core.ack(event.consumer, position, event.attempts, self.now)
            self.leave(position)
            self.parked.discard(position)
            self.done.add(position)
            self.take(effects)
        assert not self.open
        assert self.core.checkpoint == self.core.taken
        self.nothing_is_lost()


TestGroup = Group.TestCase
TestGroup.settings = settings(max_examples=examples(150), stateful_step_count=50)


def test_an_event_is_parked_with_why_each_attempt_failed() -> None:
    core = ConsumersCore(ConsumersLimits(attempts_max=2, history_max=1), 0)
    core.add_consumer("x", 1, 0.0)
    assert core.take_in([(1, None)], 0.0) == [Deliver(1, "x", 1)]
    assert core.nack("x", 1, 1, "bad", 0.0) == (True, [])
    assert core.tick(0.2) == [Deliver(1, "x", 2)]
    assert core.tick(30.2) == [Park(1, 2, ("attempt 2: x has not acknowledged it in time",))]
    assert (core.timeouts, core.nacks, core.parkings, core.checkpoint) == (1, 1, 1, 1)


def test_consumers_take_turns() -> None:
    core = ConsumersCore(ConsumersLimits(), 0)
    for name in NAMES:
        core.add_consumer(name, 2, 0.0)
    given = core.take_in([(number, None) for number in range(1, 8)], 0.0)
    assert [effect.consumer for effect in given if isinstance(effect, Deliver)] == list("xyzxyz")


def test_events_done_by_an_earlier_incarnation_stay_done() -> None:
    core = ConsumersCore(ConsumersLimits(), 0, [2, 3, 4])
    core.add_consumer("x", 9, 0.0)
    given = core.take_in([(position, None) for position in range(1, 6)], 0.0)
    assert given == [Deliver(1, "x", 1), Deliver(5, "x", 1)]
    assert core.done_above() == [2, 3, 4]
    core.ack("x", 5, 1, 0.0)
    assert core.done_above() == [2, 3, 4, 5]
    core.ack("x", 1, 1, 0.0)
    assert (core.checkpoint, core.done_above()) == (5, [])


def test_times_of_what_is_done_are_not_kept() -> None:
    core = ConsumersCore(ConsumersLimits(), 0)
    core.add_consumer("x", 1, 0.0)
    kept: list[int] = []
    for position in range(1, 1_000):
        core.take_in([(position, None)], 0.0)
        kept.append(len(core._due))
        assert core.ack("x", position, 1, 0.0)[0]
    # Two for each open event and a few more: then one for each, and again.
    assert max(kept) == 2 + STALE_MAX
    assert kept[: max(kept) + 1] == [*range(1, max(kept) + 1), 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_max": 0},
        {"attempts_max": 0},
        {"history_max": 0},
        {"ack_timeout_s": 0.0},
        {"backoff_s_min": 2.0, "backoff_s_max": 1.0},
    ],
)
def test_limits_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(SpecError):
        ConsumersLimits(**wrong)  # type: ignore[arg-type]
