"""Pauses: what is full holds up its own lane, and nothing of a lane passes another of it."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callboard.actors.kernel.flow_key import WHOLE, Lane, read_lane
from callboard.actors.kernel.link.flow_control import Pauses
from callboard.actors.kernel.link.queue import OutgoingMessage, Row
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import InvalidMessage

CELLS = (7, 8)
KEYS = ("a", "b", "")
"""The last stands for a message that has no key."""


class Keyed(Contract, name="pauses.keyed"):
    user: str
    number: int


class Plain(Contract, name="pauses.plain"):
    number: int


def message_of(key: str, number: int) -> Contract:
    return Keyed(user=key, number=number) if key else Plain(number=number)


def waiting(cell: int, message: Contract, call: Any = None) -> OutgoingMessage:
    return OutgoingMessage(cell, message, call)


def lane_of(key: str) -> Lane:
    return Lane.of(Keyed(user=key, number=0), "user")


class PausesModel(RuleBasedStateMachine):
    """Some cells and keys, of which each may be paused; the way that an outbox uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses = Pauses()
        self.paused: set[tuple[int, Lane]] = set()
        self.left: list[OutgoingMessage] = []
        """What has left and may come back, in its order."""
        self.leaving: set[int] = set()
        self.posted: dict[tuple[int, str], list[int]] = {}
        self.gone: dict[tuple[int, str], list[int]] = {}
        self.number = 0

    def leave(self, item: OutgoingMessage) -> None:
        row = self.pauses.row_of(item.target, item.message)
        if row is not None:
            self.pauses.put(row, item)
            return
        key = getattr(item.message, "user", "")
        assert (item.target, WHOLE) not in self.paused
        assert not key or (item.target, lane_of(key)) not in self.paused
        number: int = item.message.number  # type: ignore[attr-defined]  # both have it
        self.gone.setdefault((item.target, key), []).append(number)
        self.left.append(item)

    @rule(cell=st.sampled_from(CELLS), key=st.sampled_from(KEYS))
    def post(self, cell: int, key: str) -> None:
        self.number += 1
        self.posted.setdefault((cell, key), []).append(self.number)
        self.leave(waiting(cell, message_of(key, self.number)))

    @rule(cell=st.sampled_from(CELLS), key=st.sampled_from(KEYS))
    def pause(self, cell: int, key: str) -> None:
        lane = lane_of(key) if key else WHOLE
        self.pauses.pause(cell, lane)
        self.paused.add((cell, lane))

    @rule(cell=st.sampled_from(CELLS), key=st.sampled_from(KEYS))
    def resume(self, cell: int, key: str) -> None:
        lane = lane_of(key) if key else WHOLE
        row = self.pauses.resume(cell, lane)
        if lane != WHOLE or cell not in self.leaving:
            self.paused.discard((cell, lane))
        for item in row or ():
            self.leave(item)

    @rule(cell=st.sampled_from(CELLS))
    def host_of_a_cell_sends_back(self, cell: int) -> None:
        """All that it has got and not handled, once and in order; it handles nothing more."""
        back = [item for item in self.left if item.target == cell]
        if cell in self.leaving or not back:
            return
        self.leaving.add(cell)
        self.paused.add((cell, WHOLE))
        for item in back:
            self.pauses.bounced(item)
        for place in [place for place in self.gone if place[0] == cell]:
            del self.gone[place]
        self.left = [item for item in self.left if item.target != cell]

    @rule()
    def reset(self) -> None:
        """The host is gone, and all that waits is for the next one."""
        backlog = Row()
        for row in self.pauses.clear():
            backlog.put_first(row)
        self.paused.clear()
        self.leaving.clear()
        assert not self.pauses
        for item in backlog:
            self.leave(item)
        assert self.gone == self.posted

    @invariant()
    def order_is_kept_and_nothing_is_lost_or_doubled(self) -> None:
        for place, posted in self.posted.items():
            gone = self.gone.get(place, [])
            assert gone == posted[: len(gone)], place
        gone_all = sum(map(len, self.gone.values()))
        assert len(self.pauses) == sum(map(len, self.posted.values())) - gone_all
        assert self.pauses.tells == len(self.pauses)

    @invariant()
    def only_what_is_paused_waits(self) -> None:
        assert bool(self.pauses) == bool(self.paused)
        for cell in CELLS:
            for key in KEYS:
                waits = self.pauses.row_of(cell, message_of(key, 0)) is not None
                whole = (cell, WHOLE) in self.paused
                assert waits == (whole or (bool(key) and (cell, lane_of(key)) in self.paused))

    def teardown(self) -> None:
        self.reset()


TestPausesModel = PausesModel.TestCase
TestPausesModel.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)


def test_message_that_somebody_waits_for_is_no_tell() -> None:
    pauses = Pauses()
    pauses.pause(7, WHOLE)
    row = pauses.row_of(7, Plain(number=1))
    assert isinstance(row, Row)
    pauses.put(row, waiting(7, Plain(number=1), call=object()))
    assert (len(pauses), pauses.tells) == (1, 0)


def test_end_of_a_pause_that_there_is_not_ends_no_other() -> None:
    pauses = Pauses()
    pauses.pause(7, lane_of("a"))
    assert pauses.resume(7, WHOLE) is None
    assert pauses.resume(7, lane_of("b")) is None
    assert pauses.resume(7, Lane("other", lane_of("a").key)) is None
    assert pauses.resume(8, lane_of("a")) is None
    assert pauses.row_of(7, Keyed(user="a", number=1)) is not None


@pytest.mark.parametrize("lane", [WHOLE, lane_of("a"), Lane("é", 2**64 - 1)])
def test_lane_comes_back_from_the_wire(lane: Lane) -> None:
    assert read_lane(lane.to_bytes()) == lane


def test_long_key_makes_no_long_lane() -> None:
    assert len(lane_of("x" * 1_000_000).to_bytes()) < 32


@pytest.mark.parametrize("body", [b"\xc1", b"\x01", b"\x92\x01\x01", b"\x92\xa0\x01", b"\x91\xa1x"])
def test_bytes_that_are_no_lane_are_none(body: bytes) -> None:
    assert read_lane(body) is None


def test_message_without_a_key_has_no_lane() -> None:
    with pytest.raises(InvalidMessage):
        Lane.of(Plain(number=1), "user")
