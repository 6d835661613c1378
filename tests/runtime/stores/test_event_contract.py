"""The contract of every event store."""

import contextlib
import threading
import uuid
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from callboard.messages.core.errors import CallboardError, InvalidMessage
from callboard.messages.storage.errors import (
    EventIdReused,
    EventTooLarge,
    StoreUnavailable,
    WriterFenced,
    WrongExpectedVersion,
)
from callboard.messages.storage.events import (
    ANY,
    NO_STREAM,
    Append,
    Appended,
    EventStore,
    NewEvent,
    Snapshot,
    pages,
)

OpenStore = Callable[[], EventStore]


def event(kind: str = "noted", data: bytes = b"x", **fields: Any) -> NewEvent:
    return NewEvent(fields.pop("id", None) or uuid.uuid4().bytes, kind, data, **fields)


def one(store: EventStore, append: Append) -> Appended | CallboardError:
    return store.commit([append])[0]


def test_an_empty_log_has_no_positions(store: EventStore) -> None:
    assert (store.head(), store.version_of("a"), store.read(0, 10)) == (0, 0, [])
    assert (store.read_stream("a"), store.streams()) == ([], [])


def test_positions_and_versions_have_no_gap(store: EventStore) -> None:
    outcomes = store.commit(
        [
            Append("a", (event(), event())),
            Append("b", (event(),)),
            Append("a", (event(),), expected=2),
        ]
    )
    assert outcomes == [Appended(1, 2, 2), Appended(3, 3, 1), Appended(4, 4, 3)]
    assert [(e.position, e.stream, e.version) for e in store.read(0, 10)] == [
        (1, "a", 1),
        (2, "a", 2),
        (3, "b", 1),
        (4, "a", 3),
    ]
    assert (store.head(), store.version_of("a")) == (4, 3)


def test_an_event_comes_back_as_it_was(store: EventStore) -> None:
    sent = event("Ünicode/kind", bytes(range(256)), schema=7, metadata=b"\0meta")
    one(store, Append("a/ü", (sent,)))
    (found,) = store.read_stream("a/ü")
    assert (found.id, found.kind, found.schema) == (sent.id, sent.kind, 7)
    assert (found.data, found.metadata) == (sent.data, sent.metadata)
    assert found.recorded_at > 1e9


@pytest.mark.parametrize(
    ("expected", "is_kept"), [(ANY, True), (NO_STREAM, False), (1, False), (2, True), (3, False)]
)
def test_the_expected_version(store: EventStore, expected: int, is_kept: bool) -> None:
    one(store, Append("a", (event(), event())))
    outcome = one(store, Append("a", (event(),), expected))
    assert isinstance(outcome, Appended if is_kept else WrongExpectedVersion)
    if isinstance(outcome, CallboardError):
        assert outcome.details["version"] == 2
    assert store.version_of("a") == 2 + is_kept


def test_an_append_that_follows_an_event_comes_right_after_it(store: EventStore) -> None:
    first, second, other = event(), event(), event()
    assert one(store, Append("a", (first,))) == Appended(1, 1, 1)
    assert one(store, Append("a", (second,), 1, first.id)) == Appended(2, 2, 2)
    for follows in (first.id, other.id):
        outcome = one(store, Append("a", (other,), 2, follows))
        assert isinstance(outcome, WrongExpectedVersion), follows
        assert follows.hex() in outcome.message
        assert isinstance(one(store, Append("a", (other,), ANY, follows)), WrongExpectedVersion)
        assert isinstance(one(store, Append("b", (other,), ANY, follows)), WrongExpectedVersion)
    assert store.streams() == ["a"]
    assert one(store, Append("a", (other,), ANY, second.id)) == Appended(3, 3, 3)


def test_an_append_that_follows_is_idempotent_as_any_other(store: EventStore) -> None:
    first, second, third = event(), event(), event()
    behind = Append("a", (second,), 1, first.id)
    store.commit([Append("a", (first,), NO_STREAM), behind, Append("a", (third,), 2, second.id)])
    assert one(store, behind) == Appended(2, 2, 2, is_repeat=True)
    assert store.head() == 3


@pytest.mark.parametrize("at_once", [True, False], ids=["one group", "a group each"])
def test_an_append_that_follows_a_refused_one_is_refused_too(
    store: EventStore, at_once: bool
) -> None:
    """Another writer was faster, with as many events as the next append expects."""
    base, theirs, mine = event(), event(), [event() for _ in range(4)]
    one(store, Append("a", (base,), NO_STREAM))
    appends = [
        Append("a", (theirs,), 1, base.id),
        *(
            Append("a", (each,), version, before.id)
            for version, (before, each) in enumerate(pairwise([base, *mine]), start=1)
        ),
    ]
    outcomes = store.commit(appends) if at_once else [one(store, each) for each in appends]
    assert outcomes[0] == Appended(2, 2, 2)
    assert [type(outcome) for outcome in outcomes[1:]] == [WrongExpectedVersion] * 4
    assert [found.id for found in store.read_stream("a")] == [base.id, theirs.id]


def test_a_writer_that_takes_over_knows_the_last_events(open_store: OpenStore) -> None:
    old, first = open_store(), event()
    old.take_over("old")
    one(old, Append("a", (first,)))
    new = open_store()
    new.take_over("new")
    assert isinstance(one(new, Append("a", (event(),), 1, event().id)), WrongExpectedVersion)
    assert one(new, Append("a", (event(),), 1, first.id)) == Appended(2, 2, 2)


def test_an_append_without_an_event_is_refused(store: EventStore) -> None:
    for _ in range(2):
        assert isinstance(one(store, Append("a", ())), InvalidMessage)
        one(store, Append("a", (event(),)))
    assert store.head() == 2


def test_a_refused_append_does_not_touch_its_neighbours(store: EventStore) -> None:
    outcomes = store.commit(
        [
            Append("a", (event(),), NO_STREAM),
            Append("a", (event(),), NO_STREAM),
            Append("b", (event(),), NO_STREAM),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [Appended, WrongExpectedVersion, Appended]
    assert [e.stream for e in store.read(0, 10)] == ["a", "b"]


@pytest.mark.parametrize("expected", [ANY, NO_STREAM, 99])
def test_a_repeated_append_is_where_it_was(store: EventStore, expected: int) -> None:
    append = Append("a", (event(), event()), NO_STREAM)
    first = one(store, append)
    one(store, Append("a", (event(),)))
    again = one(store, append._replace(expected=expected))
    assert again == Appended(1, 2, 2, is_repeat=True)
    assert first == Appended(1, 2, 2)
    assert store.head() == 3


@pytest.mark.parametrize("place", [0, 1])
def test_a_repeated_append_does_not_touch_the_others_of_its_group(
    store: EventStore, place: int
) -> None:
    first = one(store, repeated := Append("a", (event(),), ANY))
    one(store, Append("b", (event(),)))
    others = [Append("b", (event("new kind"),), 1), Append("c", (event("new kind"),), NO_STREAM)]
    outcomes = store.commit([*others[:place], repeated, *others[place:]])
    assert isinstance(first, Appended)
    assert outcomes.pop(place) == first._replace(is_repeat=True)
    assert outcomes == [Appended(3, 3, 2), Appended(4, 4, 1)]
    assert [e.stream for e in store.read(2, 10, kinds=["new kind"])] == ["b", "c"]


@pytest.mark.parametrize("place", [0, 1])
def test_a_reused_id_does_not_touch_the_other_appends_of_its_group(
    store: EventStore, place: int
) -> None:
    one(store, Append("a", (known := event(),)))
    others = [Append("b", (event("new kind"),), NO_STREAM), Append("b", (event(),), 1)]
    reused = Append("c", (known,), NO_STREAM)
    outcomes = store.commit([*others[:place], reused, *others[place:]])
    assert isinstance(outcomes.pop(place), EventIdReused)
    assert outcomes == [Appended(2, 2, 1), Appended(3, 3, 2)]
    assert store.streams() == ["a", "b"]
    assert [e.stream for e in store.read(0, 10, kinds=["new kind"])] == ["b"]


def test_a_repeat_within_one_group(store: EventStore) -> None:
    append = Append("a", (event(),), NO_STREAM)
    assert store.commit([append, append]) == [Appended(1, 1, 1), Appended(1, 1, 1, is_repeat=True)]
    assert store.head() == 1


def test_an_id_stands_for_one_event_of_one_append(store: EventStore) -> None:
    first, second, new = event(), event(), event()
    one(store, Append("a", (first, second)))
    for reused in (
        Append("b", (first,)),
        Append("a", (second, first)),
        Append("a", (second, new)),
        Append("a", (new, first)),
        Append("a", (new, new)),
    ):
        assert isinstance(one(store, reused), EventIdReused), reused
    assert store.head() == 2


@pytest.mark.parametrize(
    "name", ["", "x\ud800", "a\0b", "a\nb", "\x1b[31m", "x" * 2_000], ids=ascii
)
def test_a_text_that_is_no_name_makes_no_stream_and_no_kind(store: EventStore, name: str) -> None:
    one(store, Append("before", (event(),)))
    outcomes = store.commit(
        [
            Append("a", (event(), event("good"))),
            Append(name, (event(),)),
            Append("before", (event("good"), event(name))),
            Append("b", (event(),)),
        ]
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Appended, InvalidMessage, InvalidMessage, Appended]
    assert str(outcomes[1]).isprintable()
    assert store.streams() == ["a", "b", "before"]
    assert (store.head(), store.version_of("before")) == (4, 1)
    for read in (store.read_stream, store.version_of, store.load_snapshot):
        with contextlib.suppress(InvalidMessage):
            assert not read(name)


def test_an_event_that_is_too_large_is_refused(store: EventStore) -> None:
    outcomes = store.commit(
        [Append("a", (event(data=bytes(17 * 2**20)),)), Append("a", (event(),))]
    )
    assert isinstance(outcomes[0], EventTooLarge)
    assert outcomes[1] == Appended(1, 1, 1)


def test_pages_of_streams_both_ways(store: EventStore) -> None:
    one(store, Append("a", tuple(event(data=bytes([n])) for n in range(10))))
    versions = [e.version for e in store.read_stream("a", after=3, limit=4)]
    assert versions == [4, 5, 6, 7]
    assert [e.version for e in store.read_stream("a", backwards=True, limit=3)] == [10, 9, 8]
    assert [e.version for e in store.read_stream("a", after=3, backwards=True)] == [2, 1]
    assert [len(page) for page in pages(store, "a", size=4)] == [4, 4, 2]


def test_reading_some_kinds(store: EventStore) -> None:
    kinds = ["x", "y", "z", "x", "y"]
    one(store, Append("a", tuple(event(kind) for kind in kinds)))
    assert [e.position for e in store.read(1, 10, kinds=("x", "z"))] == [3, 4]
    assert [e.position for e in store.read(0, 1, kinds=("y",))] == [2]
    assert store.read(0, 10, kinds=("nothing",)) == []


def test_names_of_streams(store: EventStore) -> None:
    for name in ("b/2", "a", "b/1", "b", "c%_"):
        one(store, Append(name, (event(),)))
    assert store.streams() == ["a", "b", "b/1", "b/2", "c%_"]
    assert store.streams("b/") == ["b/1", "b/2"]
    assert store.streams("b", after="b", limit=1) == ["b/1"]
    assert store.streams("%") == []


def test_snapshots_can_be_thrown_away(store: EventStore) -> None:
    assert store.load_snapshot("a") is None
    store.save_snapshot(Snapshot("a", 3, 1, b"old"))
    store.save_snapshot(Snapshot("a", 5, 2, b"new"))
    assert store.load_snapshot("a") == Snapshot("a", 5, 2, b"new")
    store.drop_snapshots("a")
    assert store.load_snapshot("a") is None


def test_a_writer_that_was_superseded_writes_nothing(open_store: OpenStore) -> None:
    old, new = open_store(), open_store()
    first = old.take_over("old")
    one(old, Append("a", (event(),)))
    assert new.take_over("new") > first
    with pytest.raises(WriterFenced, match="new"):
        old.commit([Append("a", (event(),))])
    assert one(new, Append("a", (event(),), 1)) == Appended(2, 2, 2)
    assert [e.version for e in old.read_stream("a")] == [1, 2]


def test_a_store_that_never_took_over_writes_nothing(open_store: OpenStore) -> None:
    with pytest.raises(WriterFenced):
        open_store().commit([Append("a", (event(),))])


def test_the_log_is_there_when_it_is_opened_again(open_store: OpenStore) -> None:
    store = open_store()
    store.take_over("one")
    append = Append("a", (event(), event()))
    one(store, append)
    again = open_store()
    again.take_over("two")
    assert [e.position for e in again.read(0, 10)] == [1, 2]
    assert one(again, append) == Appended(1, 2, 2, is_repeat=True)
    assert one(again, Append("a", (event(),), 2)) == Appended(3, 3, 3)


def test_readers_during_writes_miss_nothing(open_store: OpenStore) -> None:
    """Several readers follow the events of many streams: each sees every position once."""
    writer = open_store()
    writer.take_over("writer")
    total, failures = 1_500, list[BaseException]()

    def follow(store: EventStore) -> None:
        try:
            seen = 0
            while seen < total:
                for found in store.read(seen, 97):
                    assert found.position == seen + 1, (found.position, seen)
                    seen = found.position
        except BaseException as error:  # noqa: BLE001 - raised in the test below
            failures.append(error)

    readers = [threading.Thread(target=follow, args=(open_store(),), daemon=True) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(0, total, 3):
        group = [Append(f"s{n % 7}", (event(),)) for n in range(number, number + 3)]
        assert all(isinstance(outcome, Appended) for outcome in writer.commit(group))
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive()
    assert not failures


def test_store_is_closed_during_reads_of_other_threads(open_store: OpenStore) -> None:
    writer = open_store()
    writer.take_over("writer")
    one(writer, Append("s", tuple(event() for _ in range(500))))
    store, reads, failures = open_store(), threading.Semaphore(0), list[BaseException]()
    stops = threading.Event()

    def follow() -> None:
        try:
            while not stops.is_set():
                assert len(store.read(0, 500)) == 500
                reads.release()
        except StoreUnavailable:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in the test below
            failures.append(error)

    readers = [threading.Thread(target=follow, daemon=True) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        assert reads.acquire(timeout=60)
    store.close()
    stops.set()
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive()
    assert not failures
