"""A stream that breaks while both hosts live: what it has lost is sent again, at once, in order."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.core.errors import FrameError, HostLost
from callboard.messages.core.limits import Limits
from callboard.messages.ports import BreakableCarrier, TransportBroken
from tests.thoroughness import examples

from .pair import Pair, Wire

LIMITS = Limits(link_frames_in_flight=2, frame_messages_soft=1, reorder_frames_max=4)
"""Each message is a frame, and the receiver keeps few that came too early."""


class Stream(Wire):
    """A wire that tells its link when it breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.on_break: Callable[[], object] = self.frames.clear

    def snap(self) -> None:
        """Break: what was written is lost, and later frames are delivered by calls."""
        called = {data for data, _ in self.answers}
        kept = [frame for frame in self.frames if frame[0] in called]
        self.frames.clear()
        self.frames.extend(kept)
        self.writes = False
        self.on_break()


def connected(*, begins: bool = False) -> tuple[Pair, Stream]:
    pair, stream = Pair(LIMITS), Stream()
    for end in pair.ends:
        end.link.mark_lost(1, HostLost("it was replaced.", advice=""))
    pair.here.wire = stream
    pair.here.epoch = 2
    if begins:
        pair.here.link.begin(2, stream, is_open=True)
    else:
        pair.here.link.connect(2, stream)
    pair.there.link.connect(2, pair.there.wire)
    pair.there.epoch = 2
    return pair, stream


@pytest.fixture(params=[False, True], ids=["introduced", "at its first message"])
def snapping(request: pytest.FixtureRequest) -> Iterator[tuple[Pair, Stream]]:
    """A link that breaks, and how it was made."""
    pair, stream = connected(begins=request.param)
    yield pair, stream
    pair.close()


def carry(pair: Pair, frames_max: int = 1_000) -> None:
    """Carry both ways as Ray calls do: a frame that is refused is sent again later."""
    for source, target in ((pair.here, pair.there), (pair.there, pair.here)):
        for _ in range(min(frames_max, len(source.wire.frames))):
            data, references = source.wire.frames.popleft()
            try:
                target.receive(data, references)
            except FrameError:
                source.wire.answer(data, TransportBroken("refused"))
            else:
                source.wire.answer(data)


def settle(pair: Pair) -> None:
    pair.step()
    while pair.here.wire.frames or pair.there.wire.frames:
        carry(pair)
        pair.step()


def test_a_carrier_that_cannot_break_needs_no_way_to_say_so() -> None:
    assert isinstance(Stream(), BreakableCarrier)
    assert not isinstance(Wire(), BreakableCarrier)


def test_lost_frames_are_sent_again_without_a_wait(snapping: tuple[Pair, Stream]) -> None:
    pair, stream = snapping
    for number in range(3):
        pair.here.tell(number)
    pair.step()
    began_s = pair.here.now()
    stream.snap()
    settle(pair)
    assert pair.box.numbers == [0, 1, 2]
    assert pair.here.now() == began_s


def test_frames_that_had_arrived_are_not_delivered_again(snapping: tuple[Pair, Stream]) -> None:
    pair, stream = snapping
    for number in range(3):
        pair.here.tell(number)
    pair.step()
    carry(pair)
    stream.snap()
    settle(pair)
    assert pair.box.numbers == [0, 1, 2]
    assert pair.there.link.core.duplicates


def test_refused_frames_that_fill_the_window_do_not_keep_the_lost_ones_back(
    snapping: tuple[Pair, Stream],
) -> None:
    """The frames under way are too far ahead of the lost ones, until those have come."""
    pair, stream = snapping
    for number in range(8):
        pair.here.tell(number)
    pair.step()
    stream.frames.clear()
    stream.writes = False
    for number in range(8, 10):
        pair.here.tell(number)
    pair.step()
    assert len(stream.answers) == 2, "the window is full"
    stream.on_break()
    for _ in range(20):
        settle(pair)
        pair.step(0.1)
    assert pair.box.numbers == list(range(10))


def test_new_frames_wait_for_those_that_are_sent_again(snapping: tuple[Pair, Stream]) -> None:
    pair, stream = snapping
    for number in range(6):
        pair.here.tell(number)
    pair.step()
    stream.snap()
    for number in range(6, 12):
        pair.here.tell(number)
    pair.step()
    assert [frame.header.sequence for frame in pair.here.frames()] == [1, 2]
    settle(pair)
    assert pair.box.numbers == list(range(12))


STEPS = st.lists(
    st.sampled_from(["tell", "tell", "tell", "carry", "some", "snap", "mend", "wait"]), max_size=60
)


@settings(max_examples=examples(200))
@given(STEPS)
def test_each_message_arrives_once_and_in_order_however_often_it_breaks(steps: list[str]) -> None:
    pair, stream = connected()
    sent = 0
    for step in steps:
        match step:
            case "tell":
                if pair.here.link.outbox.waiting < LIMITS.link_backlog_max:
                    pair.here.tell(sent)
                    sent += 1
            case "carry":
                carry(pair)
            case "some":
                carry(pair, frames_max=1)
            case "snap":
                stream.snap()
            case "mend":
                stream.writes = True
            case _:
                pair.step(0.3)
        pair.step()
        assert pair.box.numbers == list(range(len(pair.box.items)))
    stream.writes = True
    for _ in range(60):
        settle(pair)
        pair.step(0.5)
    assert pair.box.numbers == list(range(sent))
    pair.close()
