"""Random groups of appends, on a store and on a plain list: equal outcomes, equal logs."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import EventIdReused, WrongExpectedVersion
from callboard.messages.storage.events import ANY, Append, Appended, EventStore, NewEvent
from callboard.runtime.stores.memory import MemoryEventStore
from callboard.runtime.stores.sqlite import SqliteEventStore
from tests.thoroughness import examples

STREAMS: Final = ("a", "ab", "b")
KINDS: Final = ("made", "moved")
Place = tuple[str, int, NewEvent]
"""A stream, the version in it, and the event. The index in the list is the position."""

# Few ids, so that most groups have repeats, parts of repeats, and ids of other streams.
IDS: Final = st.integers(0, 11).map(lambda number: number.to_bytes(16, "big"))
EVENTS: Final = st.builds(
    NewEvent,
    id=IDS,
    kind=st.sampled_from(KINDS),
    data=st.binary(max_size=3),
    schema=st.integers(1, 3),
    metadata=st.binary(max_size=2),
)
APPENDS: Final = st.builds(
    Append,
    stream=st.sampled_from(STREAMS),
    events=st.lists(EVENTS, min_size=1, max_size=3).map(tuple),
    expected=st.integers(ANY, 3),
    follows=st.just(b"") | IDS,
)
GROUPS: Final = st.lists(st.lists(APPENDS, min_size=1, max_size=5), max_size=6)


class Model:
    """A log as a plain list."""

    def __init__(self) -> None:
        self.log: list[Place] = []

    def version_of(self, stream: str) -> int:
        return sum(name == stream for name, _, _ in self.log)

    def add(self, append: Append) -> Appended | type[CallboardError]:
        ids = [event.id for event in append.events]
        if len(set(ids)) < len(ids):
            return EventIdReused
        logged = [event.id for _, _, event in self.log]
        if any(id_ in logged for id_ in ids):
            return self._again(append, ids, logged)
        version = self.version_of(append.stream)
        last = [event.id for name, _, event in self.log if name == append.stream][-1:]
        if append.expected not in (ANY, version) or [append.follows] not in ([b""], last):
            return WrongExpectedVersion
        first = len(self.log) + 1
        for offset, event in enumerate(append.events, start=1):
            self.log.append((append.stream, version + offset, event))
        return Appended(first, len(self.log), version + len(ids))

    def _again(
        self, append: Append, ids: list[bytes], logged: list[bytes]
    ) -> Appended | type[CallboardError]:
        if ids[0] not in logged:
            return EventIdReused
        at = logged.index(ids[0])
        there = self.log[at : at + len(ids)]
        if [(name, event.id) for name, _, event in there] != [(append.stream, id_) for id_ in ids]:
            return EventIdReused
        return Appended(at + 1, at + len(ids), there[-1][1], is_repeat=True)


def comparable(outcome: Appended | CallboardError) -> Appended | type[CallboardError]:
    return outcome if isinstance(outcome, Appended) else type(outcome)


def check(store: EventStore, model: Model) -> None:
    """Check that all reads equal the list."""
    found = store.read(0, 1_000)
    assert [event.position for event in found] == list(range(1, len(model.log) + 1))
    assert [
        (e.stream, e.version, NewEvent(e.id, e.kind, e.data, e.schema, e.metadata)) for e in found
    ] == model.log
    assert store.head() == len(model.log)
    for kind in KINDS:
        assert store.read(0, 1_000, kinds=[kind]) == [e for e in found if e.kind == kind]
    for stream in STREAMS:
        mine = [event for event in found if event.stream == stream]
        assert store.version_of(stream) == len(mine)
        assert store.read_stream(stream) == mine
        assert store.read_stream(stream, backwards=True) == mine[::-1]
        assert store.read_stream(stream, after=1, limit=2) == mine[1:3]
    assert store.streams() == sorted({event.stream for event in found})
    assert store.streams("a", after="a") == [n for n in store.streams() if n == "ab"]


def run(store: EventStore, again: EventStore | None, groups: Sequence[Sequence[Append]]) -> None:
    """Apply the groups to both, the second half through another writer, if there is one."""
    model = Model()
    store.open()
    store.take_over("first")
    for number, group in enumerate(groups):
        if again is not None and number == len(groups) // 2:
            store = again
            store.open()
            store.take_over("second")
        assert [comparable(each) for each in store.commit(group)] == [
            model.add(each) for each in group
        ]
        check(store, model)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=examples(150))
@given(groups=GROUPS)
def test_a_store_behaves_like_a_plain_list(kind: str, groups: list[list[Append]]) -> None:
    if kind == "memory":
        run(MemoryEventStore(), None, groups)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        stores = [SqliteEventStore(path, durability="off") for _ in range(2)]
        try:
            run(stores[0], stores[1], groups)
        finally:
            for store in stores:
                store.close()
