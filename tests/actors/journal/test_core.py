"""The writer's core against a plain model: any order of appends, commits and failures."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from callboard.actors.journal.core import GroupCommit, JournalLimits, Outcome, Submitted, Writing
from callboard.messages.core.errors import ActorStopped, MailboxFull
from callboard.messages.storage.errors import StoreUnavailable, WriterFenced
from callboard.messages.storage.events import Append, NewEvent
from tests.thoroughness import examples


def append_of(count: int, size: int) -> Append:
    return Append("s", tuple(NewEvent(bytes(16), "k", b"x" * size) for _ in range(count)))


class Writer(RuleBasedStateMachine):
    """The model is two lists: the appends in their order, and the outcome of each."""

    @initialize(
        waiting=st.integers(1, 12),
        group=st.integers(1, 6),
        group_bytes=st.integers(1, 60),
        patience_s=st.sampled_from([0.0, 1.0, 5.0]),
    )
    def start(self, waiting: int, group: int, group_bytes: int, patience_s: float) -> None:
        self.limits = JournalLimits(
            waiting_events=waiting,
            waiting_bytes=80,
            group_events=group,
            group_bytes=group_bytes,
            patience_s=patience_s,
            retry_first_s=0.5,
            retry_max_s=2.0,
        )
        self.core = GroupCommit(self.limits)
        self.now = 100.0
        self.taken = 0
        self.waiting: list[Submitted] = []
        self.group: list[Submitted] = []
        self.outcomes: dict[int, str] = {}
        self.down_since: float | None = None

    def settle(self, tokens: list[Any], outcome: str) -> None:
        for token in tokens:
            assert token not in self.outcomes, "a second outcome"
            self.outcomes[token] = outcome

    @rule(count=st.integers(1, 4), size=st.integers(0, 20))
    def add(self, count: int, size: int) -> None:
        append = append_of(count, size)
        events = sum(len(append.events) for append, _, _ in self.waiting)
        size_now = sum(bytes_ for _, _, bytes_ in self.waiting)
        refused: type[Exception] | None = None
        if self.core.broken is not None:
            refused = WriterFenced
        elif self.core.is_closed:
            refused = ActorStopped
        elif events >= self.limits.waiting_events or size_now >= self.limits.waiting_bytes:
            refused = MailboxFull
        if refused is not None:
            with pytest.raises(refused):
                self.core.add(append, self.taken)
            return
        self.core.add(append, self.taken)
        self.waiting.append((append, self.taken, count * size))
        self.taken += 1

    @rule()
    def take(self) -> None:
        state = self.core.state
        group = self.core.take()
        if state is Writing.BACKING_OFF:
            assert group == self.group, "the same group once more"
        elif state is not Writing.IDLE or not self.waiting:
            assert group is None
            return
        else:
            assert group is not None
            assert group == self.waiting[: len(group)], "in the order in which they came"
            del self.waiting[: len(group)]
            self.group = list(group)
            self.check_group_size()
        assert self.core.state is Writing.COMMITTING

    def check_group_size(self) -> None:
        def fits(group: list[Submitted]) -> bool:
            events = sum(len(append.events) for append, _, _ in group)
            size = sum(bytes_ for _, _, bytes_ in group)
            return events <= self.limits.group_events and size <= self.limits.group_bytes

        assert len(self.group) == 1 or fits(self.group)
        assert not self.waiting or not fits([*self.group, self.waiting[0]]), "as many as fit"

    @precondition(lambda self: self.core.state is Writing.COMMITTING)
    @rule()
    def commit(self) -> None:
        self.core.note_commit()
        self.settle([token for _, token, _ in self.group], "committed")
        self.group, self.down_since = [], None

    @precondition(lambda self: self.core.state is Writing.COMMITTING)
    @rule(after_s=st.sampled_from([0.0, 0.3, 2.0, 10.0]))
    def fail(self, after_s: float) -> None:
        self.now += after_s
        began_s = self.now if self.down_since is None else self.down_since
        outcome = self.core.note_failure(StoreUnavailable("down"), self.now)
        self.down_since = began_s
        if outcome.retry_s is not None:
            assert 0 < outcome.retry_s <= self.limits.retry_max_s
            assert self.now + outcome.retry_s - began_s <= self.limits.patience_s
            assert self.core.state is Writing.BACKING_OFF
            return
        least_s = self.limits.retry_first_s
        assert self.now + least_s * 2**20 - began_s > self.limits.patience_s
        assert list(outcome.failed) == self.group
        self.settle([token for _, token, _ in outcome.failed], "failed")
        self.group = []

    @precondition(lambda self: self.core.state is Writing.COMMITTING)
    @rule()
    def fence(self) -> None:
        self.end(self.core.note_failure(WriterFenced("another"), self.now))

    @precondition(lambda self: self.core.is_closed and self.core.broken is None)
    @rule()
    def give_up(self) -> None:
        self.end(self.core.give_up(WriterFenced("out of time")))

    def end(self, outcome: Outcome) -> None:
        assert list(outcome.failed) == [*self.group, *self.waiting]
        assert outcome.retry_s is None
        self.settle([token for _, token, _ in outcome.failed], "failed")
        self.group, self.waiting = [], []
        assert self.core.state is Writing.BROKEN

    @rule()
    def close(self) -> None:
        self.core.close()

    @invariant()
    def counts(self) -> None:
        core = self.core
        assert core.waiting_events == sum(len(append.events) for append, _, _ in self.waiting)
        assert core.waiting_bytes == sum(bytes_ for _, _, bytes_ in self.waiting)
        assert core.is_done == (not self.waiting and not self.group)
        open_ones = {token for _, token, _ in (*self.waiting, *self.group)}
        assert open_ones | self.outcomes.keys() == set(range(self.taken))
        assert not open_ones & self.outcomes.keys()


TestWriter = Writer.TestCase
TestWriter.settings = settings(max_examples=examples(150), stateful_step_count=40)


def test_patience_belongs_to_the_outage() -> None:
    core = GroupCommit(JournalLimits(patience_s=1.0, retry_first_s=0.5, group_events=1))
    down = StoreUnavailable("down")
    core.add(append_of(1, 1), "a")
    core.add(append_of(1, 1), "b")
    core.take()
    assert core.note_failure(down, 0.0).retry_s == 0.5
    core.take()
    assert core.note_failure(down, 0.9).error is down
    core.take()
    assert core.note_failure(down, 0.9).error is down, "the second group is tried once"
    core.add(append_of(1, 1), "c")
    core.take()
    core.note_commit()
    core.add(append_of(1, 1), "d")
    core.take()
    assert core.note_failure(down, 50.0).retry_s == 0.5, "a new outage, with patience of its own"
