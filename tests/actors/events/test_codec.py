"""Typed events: encoding, decoding, upcasting of earlier versions, and unknown events."""

import logging
from typing import Any, ClassVar

import numpy as np
import pytest

from callboard.actors.events.codec import EventCodec, Unknown, event_id, metadata_of
from callboard.actors.events.errors import EventUnreadable
from callboard.messages.core.codec import Array
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import InvalidMessage, SpecError
from callboard.messages.storage.errors import UnknownEvent
from callboard.messages.storage.events import EVENT_ID_BYTES, NewEvent, RecordedEvent

from .ledger import Deposit, Deposited, Withdrawn, codec_of, stranger


class Moved(Contract, name="tests.events.moved", version=3):
    path: str
    lines: int = 0
    upcasters: ClassVar = {
        1: lambda fields: {"path": fields["file"]},
        2: lambda fields: {**fields, "lines": 7},
    }


class MovedOnce(Contract, name="tests.events.moved", version=1):
    file: str


class MovedNext(Contract, name="tests.events.moved", version=4):
    path: str


class Picture(Contract, name="tests.events.picture"):
    pixels: Array
    label: str


class Empty(Contract, name="tests.events.empty"):
    """An event that says it all by its kind."""


def recorded(event: NewEvent, position: int = 1) -> RecordedEvent:
    return RecordedEvent(
        position, "s", 1, event.id, event.kind, event.schema, event.data, event.metadata, 0.0
    )


def body_of(codec: EventCodec, event: NewEvent) -> Any:
    found = codec.decode(recorded(event))
    assert found is not None
    return found.body


def test_an_event_comes_back_as_it_was() -> None:
    codec = EventCodec([Deposited, Empty])
    assert codec.kinds == ("tests.events.deposited", "tests.events.empty")
    event = codec.encode(Deposited(amount=5), metadata={"by": "me", "n": [1, 2]})
    assert (event.kind, event.schema) == ("tests.events.deposited", 1)
    found = codec.decode(recorded(event, 9))
    assert found is not None
    assert found.body == Deposited(amount=5)
    assert found.position == 9
    assert metadata_of(found.recorded) == {"by": "me", "n": [1, 2]}
    assert body_of(codec, codec.encode(Empty())) == Empty()


def test_arrays_are_in_the_event_itself() -> None:
    codec = EventCodec([Picture])
    pixels = np.arange(600_000, dtype=np.float32).reshape(600, 1000)
    found = body_of(codec, codec.encode(Picture(pixels=pixels, label="x")))
    assert found.label == "x"
    assert found.pixels.dtype == np.float32
    np.testing.assert_array_equal(found.pixels, pixels)


def test_the_same_parts_make_the_same_id_and_no_others_do() -> None:
    assert event_id("a", "b", 1) == event_id("a", "b", 1)
    assert len(event_id("a")) == EVENT_ID_BYTES
    others = [("a", "b", 1), ("ab", 1), ("a", "b1"), ("a", "b", 2), ("", "ab", 1), ("a", "b")]
    assert len({event_id(*parts) for parts in others}) == len(others)
    codec = codec_of()
    ids = {codec.encode(Deposited(amount=1)).id for _ in range(100)}
    assert len(ids) == 100, "without an id, each gets one of its own"


def test_earlier_versions_are_brought_forward() -> None:
    old, codec = EventCodec([MovedOnce]), EventCodec([Moved])
    assert body_of(codec, old.encode(MovedOnce(file="f"))) == Moved(path="f", lines=7)
    assert codec.knows(recorded(old.encode(MovedOnce(file="f"))))


def test_a_newer_version_is_unknown() -> None:
    event = recorded(EventCodec([MovedNext]).encode(MovedNext(path="f")), 12)
    codec = EventCodec([Moved])
    assert not codec.knows(event)
    with pytest.raises(UnknownEvent, match=r"position 12 is a 'tests.events.moved' v4"):
        codec.decode(event)


def test_unknown_events_stop_the_reader() -> None:
    codec = codec_of()
    with pytest.raises(UnknownEvent, match="stranger"):
        codec.decode_all([recorded(codec.encode(Withdrawn(amount=1))), recorded(stranger())])
    assert codec.body_of(recorded(stranger())) is None


def test_unknown_events_are_skipped_counted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    codec = codec_of(Unknown.SKIP)
    page = [recorded(stranger(), 4), recorded(codec.encode(Deposited(amount=1)), 5)]
    with caplog.at_level(logging.WARNING, "callboard.events"):
        for _ in range(3):
            assert [event.position for event in codec.decode_all(page)] == [5]
    assert codec.skipped == {("tests.events.stranger", 1): 3}
    assert len(caplog.records) == 1
    assert "first one at position 4" in caplog.text


def test_unknown_events_are_kept_undecoded() -> None:
    codec = codec_of(Unknown.KEEP)
    event = recorded(stranger())
    assert codec.decode_all([event]) == [(None, event)]
    assert codec.skipped == {}


@pytest.mark.parametrize("unknown", list(Unknown))
@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x80", b"\x81\xa6amount\xa1x", b"\x90", b"\x91\x01", b"\xdc", b"\x05"]
)
def test_a_known_event_that_does_not_decode_is_never_unknown(unknown: Unknown, data: bytes) -> None:
    codec = codec_of(unknown)
    event = recorded(codec.encode(Deposited(amount=1)), 3)._replace(data=data)
    with pytest.raises(EventUnreadable, match="position 3"):
        codec.decode(event)


def test_a_failed_upcaster_is_reported_with_the_place_of_the_event() -> None:
    event = recorded(EventCodec([MovedOnce]).encode(MovedOnce(file="f")))
    with pytest.raises(EventUnreadable, match=r"moved' v1.*KeyError"):
        EventCodec([Moved]).decode(event._replace(data=b"\x80"))


def test_metadata_of_another_writer_is_unreadable() -> None:
    event = recorded(stranger())
    assert metadata_of(event) == {}
    for metadata in (b"\xc1", b"\x05"):
        with pytest.raises(EventUnreadable, match="metadata"):
            metadata_of(event._replace(metadata=metadata))
    with pytest.raises(InvalidMessage, match="metadata"):
        codec_of().encode(Deposited(amount=1), metadata={"x": object()})


def test_what_a_codec_refuses() -> None:
    with pytest.raises(SpecError, match="no contract"):
        EventCodec([int])  # type: ignore[list-item]
    with pytest.raises(SpecError):
        EventCodec([Moved, MovedOnce])
    with pytest.raises(SpecError, match=r"tests\.events\.deposit"):
        codec_of().encode(Deposit(amount=1))
    with pytest.raises(SpecError):
        EventCodec([Moved]).encode(MovedOnce(file="f"))
    assert EventCodec([Moved, Moved]).kinds == ("tests.events.moved",)
