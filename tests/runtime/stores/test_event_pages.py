"""Pages of long streams, and of many kinds, on every store."""

import uuid

from callboard.messages.storage.events import Append, EventStore, NewEvent

LONG = 150


def filled(store: EventStore) -> None:
    """One long stream of two kinds."""
    events = [NewEvent(uuid.uuid4().bytes, f"k{number % 2}", b"") for number in range(LONG)]
    store.commit([Append("a", tuple(events))])


def test_a_long_stream_is_read_from_its_end(store: EventStore) -> None:
    filled(store)
    versions = [event.version for event in store.read_stream("a", backwards=True, limit=3)]
    assert versions == [LONG, LONG - 1, LONG - 2]
    before = [e.version for e in store.read_stream("a", after=140, backwards=True, limit=2)]
    assert before == [139, 138]
    assert store.read_stream("a", after=1, backwards=True) == []


def test_a_page_has_as_many_events_as_asked_for_and_none_of_none(store: EventStore) -> None:
    filled(store)
    assert store.read(0, 0) == []
    assert [event.position for event in store.read(LONG - 2, 9)] == [LONG - 1, LONG]
    assert store.read(LONG, 9) == []
    odd = store.read(0, 4, kinds=["k1"])
    assert [event.position for event in odd] == [2, 4, 6, 8]
    assert [e.position for e in store.read(LONG - 1, 9, kinds=["k1"])] == [LONG]
    assert store.read(LONG, 9, kinds=["k1"]) == []
    assert store.read(0, 9, kinds=["never"]) == []
    assert len(store.read(0, 1_000, kinds=["k0", "k1"])) == LONG
