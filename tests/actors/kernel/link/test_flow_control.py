"""Flow control: a full mailbox delays only its own flow key, whose messages keep their order."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callboard.actors.kernel.flow_key import WHOLE_CELL, FlowKey, read_flow_key
from callboard.actors.kernel.link.flow_control import FlowControl
from callboard.actors.kernel.link.queue import MessageQueue, OutgoingMessage
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import InvalidMessage
from tests.thoroughness import examples

CELLS = (7, 8)
KEYS = ("a", "b", "")
"""The last stands for a message that has no key."""


class Keyed(Contract, name="flow_control.keyed"):
    user: str
    number: int


class Plain(Contract, name="flow_control.plain"):
    number: int


def message_of(key: str, number: int) -> Contract:
    return Keyed(user=key, number=number) if key else Plain(number=number)


def waiting(cell: int, message: Contract, call: Any = None) -> OutgoingMessage:
    return OutgoingMessage(cell, message, call)


def flow_key_of(key: str) -> FlowKey:
    return FlowKey.of(Keyed(user=key, number=0), "user")


class FlowControlModel(RuleBasedStateMachine):
    """Cells and keys that may be paused, used as an outbox uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.flow_control = FlowControl()
        self.paused: set[tuple[int, FlowKey]] = set()
        self.left: list[OutgoingMessage] = []
        """What has left and may come back, in its order."""
        self.leaving: set[int] = set()
        self.posted: dict[tuple[int, str], list[int]] = {}
        self.gone: dict[tuple[int, str], list[int]] = {}
        self.number = 0

    def leave(self, item: OutgoingMessage) -> None:
        queue = self.flow_control.queue_of(item.target, item.message)
        if queue is not None:
            self.flow_control.put(queue, item)
            return
        key = getattr(item.message, "user", "")
        assert (item.target, WHOLE_CELL) not in self.paused
        assert not key or (item.target, flow_key_of(key)) not in self.paused
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
        flow_key = flow_key_of(key) if key else WHOLE_CELL
        self.flow_control.pause(cell, flow_key)
        self.paused.add((cell, flow_key))

    @rule(cell=st.sampled_from(CELLS), key=st.sampled_from(KEYS))
    def resume(self, cell: int, key: str) -> None:
        flow_key = flow_key_of(key) if key else WHOLE_CELL
        queue = self.flow_control.resume(cell, flow_key)
        if flow_key != WHOLE_CELL or cell not in self.leaving:
            self.paused.discard((cell, flow_key))
        for item in queue or ():
            self.leave(item)

    @rule(cell=st.sampled_from(CELLS))
    def host_of_a_cell_bounces(self, cell: int) -> None:
        """A cell bounces all that it has got and not handled, once and in order."""
        back = [item for item in self.left if item.target == cell]
        if cell in self.leaving or not back:
            return
        self.leaving.add(cell)
        self.paused.add((cell, WHOLE_CELL))
        for item in back:
            self.flow_control.put_bounced(item)
        for place in [place for place in self.gone if place[0] == cell]:
            del self.gone[place]
        self.left = [item for item in self.left if item.target != cell]

    @rule()
    def reset(self) -> None:
        """The host has ended; all waiting messages are for its next incarnation."""
        backlog = MessageQueue()
        for queue in self.flow_control.clear():
            backlog.put_first(queue)
        self.paused.clear()
        self.leaving.clear()
        assert not self.flow_control
        for item in backlog:
            self.leave(item)
        assert self.gone == self.posted

    @invariant()
    def order_is_kept_and_nothing_is_lost_or_doubled(self) -> None:
        for place, posted in self.posted.items():
            gone = self.gone.get(place, [])
            assert gone == posted[: len(gone)], place
        gone_all = sum(map(len, self.gone.values()))
        assert len(self.flow_control) == sum(map(len, self.posted.values())) - gone_all
        assert self.flow_control.tells == len(self.flow_control)

    @invariant()
    def only_what_is_paused_waits(self) -> None:
        assert bool(self.flow_control) == bool(self.paused)
        for cell in CELLS:
            for key in KEYS:
                waits = self.flow_control.queue_of(cell, message_of(key, 0)) is not None
                whole = (cell, WHOLE_CELL) in self.paused
                assert waits == (whole or (bool(key) and (cell, flow_key_of(key)) in self.paused))

    def teardown(self) -> None:
        self.reset()


TestFlowControlModel = FlowControlModel.TestCase
TestFlowControlModel.settings = settings(max_examples=examples(300), stateful_step_count=50)


def test_message_with_a_waiting_sender_is_not_limited() -> None:
    flow_control = FlowControl()
    flow_control.pause(7, WHOLE_CELL)
    queue = flow_control.queue_of(7, Plain(number=1))
    assert isinstance(queue, MessageQueue)
    flow_control.put(queue, waiting(7, Plain(number=1), call=object()))
    assert (len(flow_control), flow_control.tells) == (1, 0)


def test_resume_without_a_pause_ends_no_other_pause() -> None:
    flow_control = FlowControl()
    flow_control.pause(7, flow_key_of("a"))
    assert flow_control.resume(7, WHOLE_CELL) is None
    assert flow_control.resume(7, flow_key_of("b")) is None
    assert flow_control.resume(7, FlowKey("other", flow_key_of("a").key)) is None
    assert flow_control.resume(8, flow_key_of("a")) is None
    assert flow_control.queue_of(7, Keyed(user="a", number=1)) is not None


@pytest.mark.parametrize("flow_key", [WHOLE_CELL, flow_key_of("a"), FlowKey("é", 2**64 - 1)])
def test_flow_key_comes_back_from_the_wire(flow_key: FlowKey) -> None:
    assert read_flow_key(flow_key.to_bytes()) == flow_key


def test_long_key_makes_no_long_flow_key() -> None:
    assert len(flow_key_of("x" * 1_000_000).to_bytes()) < 32


@pytest.mark.parametrize("body", [b"\xc1", b"\x01", b"\x92\x01\x01", b"\x92\xa0\x01", b"\x91\xa1x"])
def test_bytes_that_are_no_flow_key_are_none(body: bytes) -> None:
    assert read_flow_key(body) is None


def test_message_without_a_key_has_no_flow_key() -> None:
    with pytest.raises(InvalidMessage):
        FlowKey.of(Plain(number=1), "user")
