"""The key region's core: one activation for each key, no lost message, order and limits kept."""

from collections import deque
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callboard.actors.keyed.core import (
    Activate,
    Deliver,
    Effect,
    Fail,
    KeyRegionCore,
    KeyRegionLimits,
    Refuse,
    Renew,
    Save,
    State,
    Stop,
)

KEYS = st.sampled_from("abcde")


def core(active_max: int = 2, held_max: int = 4) -> KeyRegionCore:
    return KeyRegionCore(KeyRegionLimits(active_max, 10.0, held_max))


def test_failed_activation_fails_its_messages_and_the_next_one_tries_again() -> None:
    made = core()
    assert made.message_arrived("a", 1, 0.0) == [Activate("a")]
    assert made.message_arrived("a", 2, 0.0) == []
    assert made.activation_failed("a", 0.0) == [Fail("a", (1, 2))]
    assert made.message_arrived("a", 3, 0.0) == [Activate("a")]


def test_messages_over_the_limit_of_a_key_are_refused() -> None:
    made = core(held_max=1)
    made.message_arrived("a", 1, 0.0)
    assert made.message_arrived("a", 2, 0.0) == [Refuse("a", 2)]


def test_messages_over_the_limit_are_taken_from_senders_that_wait() -> None:
    made = core(held_max=1)
    made.message_arrived("a", 1, 0.0)
    assert made.is_full("a")
    assert made.message_arrived("a", 2, 0.0, may_wait=True) == []
    assert made.activated("a", 0.0) == [Deliver("a", 1), Deliver("a", 2)]


@pytest.mark.parametrize("passivates", [False, True])
def test_conflict_renews_an_actor_that_stays_or_passivates(passivates: bool) -> None:
    made = core()
    made.message_arrived("a", 1, 0.0)
    made.activated("a", 0.0)
    made.actor_idle("a", 0.0)
    assert (made.tick(10.0) if passivates else made.save("a", 0.0)) == [Save("a")]
    made.message_arrived("a", 2, 10.0)
    assert made.save_conflicted("a", 10.0) == [Renew("a"), Deliver("a", 2)]
    assert made.tick(30.0) == [], "it is busy until it has handled its messages"
    made.actor_idle("a", 30.0)
    assert made.tick(40.0) == [Save("a")]


def test_drain_returns_held_messages_and_activates_no_key() -> None:
    made = core(active_max=1)
    for number, key in enumerate("aabb"):
        made.message_arrived(key, number, 0.0)
    assert made.drain() == [0, 1, 2, 3]
    made.validate_state()
    assert made.activated("a", 0.0) == []
    assert made.state_of("b") is None


def test_failed_save_keeps_it_active_and_waits_longer_each_time() -> None:
    made = core()
    made.message_arrived("a", 1, 0.0)
    made.activated("a", 0.0)
    made.actor_idle("a", 0.0)
    assert made.tick(10.0) == [Save("a")]
    assert made.message_arrived("a", 2, 10.0) == []
    assert made.save_failed("a", 10.0) == [Deliver("a", 2)]
    made.actor_idle("a", 10.0)
    assert made.save("a", 10.05) == []
    assert made.save("a", 10.1) == [Save("a")]
    made.save_failed("a", 10.1)
    assert made.save("a", 10.25) == []
    assert made.save("a", 10.3) == [Save("a")]


def test_message_that_comes_while_it_stops_goes_to_the_next_activation() -> None:
    made = core()
    made.message_arrived("a", 1, 0.0)
    made.activated("a", 0.0)
    made.actor_idle("a", 0.0)
    made.tick(10.0)
    assert made.save_succeeded("a", 10.0) == [Stop("a")]
    assert made.message_arrived("a", 2, 10.0) == []
    assert made.actor_ended("a", 10.0) == [Activate("a")]
    assert made.activated("a", 10.0) == [Deliver("a", 2)]


def test_returned_messages_keep_their_order_before_those_that_came_later() -> None:
    made = core(held_max=10)
    made.message_arrived("a", 0, 0.0)
    made.activated("a", 0.0)
    made.messages_returned("a", [1, 2, 3])
    assert made.message_arrived("a", 4, 0.0) == []
    made.messages_returned("a", [])
    assert made.actor_ended("a", 0.0) == [Activate("a")]
    assert made.activated("a", 0.0) == [Deliver("a", number) for number in (1, 2, 3, 4)]


def test_messages_of_an_actors_own_timers_are_no_use_and_are_handled_before_it_passivates() -> None:
    made = core()
    for now, key in enumerate("ab"):
        made.message_arrived(key, key, now)
        made.activated(key, now)
        made.actor_idle(key, now)
    made.actor_busy("a")
    assert made.tick(10.5) == [], "a handles a message of its timer, and b was used later"
    made.actor_idle("a", 10.6, was_used=False)
    made.validate_state()
    assert made.tick(10.7) == [Save("a")]
    made.actor_busy("c")
    assert made.state_of("c") is None


def test_least_recently_used_makes_room() -> None:
    made = core(active_max=2)
    for now, key in enumerate("ab"):
        made.message_arrived(key, key, now)
        made.activated(key, now)
        made.actor_idle(key, now)
    made.message_arrived("a", 2, 3.0)
    made.actor_idle("a", 3.0)
    assert made.message_arrived("c", 3, 4.0) == [Save("b")]
    assert made.save_succeeded("b", 4.0) == [Stop("b")]
    assert made.actor_ended("b", 4.0) == [Activate("c")]


@pytest.mark.parametrize(("over", "saves"), [(True, [Save("a")]), (False, [])])
def test_short_memory_passivates_an_idle_key(over: bool, saves: list[Effect]) -> None:
    made = core()
    made.message_arrived("a", 1, 0.0)
    made.activated("a", 0.0)
    made.actor_idle("a", 0.0)
    assert made.tick(0.1, is_over_memory=over) == saves


class KeyRegionMachine(RuleBasedStateMachine):
    """A key region whose shell performs each effect some time later, or fails to."""

    def __init__(self) -> None:
        super().__init__()
        self.core = core(active_max=2, held_max=6)
        self.now = 0.0
        self.number = 0
        self.running: dict[str, deque[Any]] = {}
        self.starting: dict[str, None] = {}
        self.saving: dict[str, None] = {}
        self.stopping: dict[str, None] = {}
        self.renewed: dict[str, None] = {}
        """Activations whose next incarnation has not started yet."""
        self.expected: dict[str, deque[int]] = {key: deque() for key in "abcde"}

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Activate(key):
                    assert key not in self.running
                    assert key not in self.starting
                    self.starting[key] = None
                case Deliver(key, item):
                    assert key not in self.stopping
                    self.running[key].append(item)
                case Save(key):
                    assert key in self.running
                    assert key not in self.renewed
                    assert not self.running[key]
                    self.saving[key] = None
                case Stop(key):
                    self.stopping[key] = None
                case Renew(key):
                    assert key in self.running
                    self.renewed[key] = None
                case Refuse(key, item):
                    self.expected[key].remove(item)
                case Fail(key, items):
                    for item in items:
                        assert self.expected[key].popleft() == item

    @rule(key=KEYS, may_wait=st.booleans())
    def message(self, key: str, may_wait: bool) -> None:
        self.number += 1
        self.expected[key].append(self.number)
        self.perform(self.core.message_arrived(key, self.number, self.now, may_wait=may_wait))

    @rule(key=KEYS)
    def next_incarnation_starts(self, key: str) -> None:
        if key in self.renewed:
            del self.renewed[key]
            if not self.running[key]:
                self.perform(self.core.actor_idle(key, self.now))

    @rule(key=KEYS, works=st.booleans())
    def start_ends(self, key: str, works: bool) -> None:
        if key in self.starting:
            del self.starting[key]
            if works:
                self.running[key] = deque()
                self.perform(self.core.activated(key, self.now))
            else:
                self.perform(self.core.activation_failed(key, self.now))

    @rule(key=KEYS)
    def handle(self, key: str) -> None:
        mailbox = self.running.get(key)
        if mailbox and key not in self.renewed:
            assert mailbox.popleft() == self.expected[key].popleft()
            if not mailbox:
                self.perform(self.core.actor_idle(key, self.now))

    @rule(key=KEYS)
    def periodic_save(self, key: str) -> None:
        off = key in self.stopping or key in self.renewed
        if key in self.running and not self.running[key] and not off:
            self.perform(self.core.save(key, self.now))

    @rule(key=KEYS, how=st.sampled_from(["save_succeeded", "save_failed", "save_conflicted"]))
    def save_ends(self, key: str, how: str) -> None:
        if key in self.saving:
            del self.saving[key]
            self.perform(getattr(self.core, how)(key, self.now))

    @rule(key=KEYS)
    def stop_ends(self, key: str) -> None:
        if key in self.stopping:
            del self.stopping[key], self.running[key]
            self.perform(self.core.actor_ended(key, self.now))

    @rule(key=KEYS)
    def ends_by_itself(self, key: str) -> None:
        if self.core.state_of(key) is State.ACTIVE:
            self.core.messages_returned(key, self.running[key])
            self.running[key].clear()
            self.renewed.pop(key, None)
            self.stopping[key] = None

    @rule(seconds=st.sampled_from([0.1, 1.0, 20.0]), is_over=st.booleans())
    def time_passes(self, seconds: float, is_over: bool) -> None:
        self.now += seconds
        self.perform(self.core.tick(self.now, is_over_memory=is_over))

    @invariant()
    def state_is_valid(self) -> None:
        self.core.validate_state()

    @invariant()
    def nothing_is_lost_and_the_order_is_kept(self) -> None:
        for key, expected in self.expected.items():
            entry = self.core.entries.get(key)
            held = list(entry.held) if entry is not None else []
            assert [*self.running.get(key, ()), *held] == list(expected)

    @invariant()
    def no_more_than_allowed_are_active(self) -> None:
        assert len({*self.starting, *self.running}) <= 2


TestKeyRegion = KeyRegionMachine.TestCase
