"""Owners that append on without waiting, on one stream of one journal, and race each other.

Whatever is refused or fails takes everything behind it with it: of each owner the stream holds
what it has submitted first, in a row, and nothing from behind a gap.
"""

import asyncio
import itertools
import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.journal.core import JournalLimits
from callboard.actors.journal.journal import Journal
from callboard.messages.core.errors import CallboardError
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable
from callboard.messages.storage.event_ids import NumberedIds
from callboard.messages.storage.events import Append, Appended, EventStore, NewEvent
from callboard.runtime.stores.memory import MemoryEventStore
from callboard.runtime.stores.sqlite import SqliteEventStore
from tests.thoroughness import examples

STREAM: Final = "e"
WAIT_S: Final = 20.0
OWNERS: Final = 3

Step = tuple[str, int, int]
"""What happens, which owner it is about, and a number."""

STEPS: Final = st.lists(
    st.tuples(st.just("append"), st.integers(0, OWNERS - 1), st.integers(1, 3))
    | st.tuples(st.just("begin"), st.integers(0, OWNERS - 1), st.just(0))
    | st.tuples(st.just("turn"), st.just(0), st.integers(1, 4))
    | st.tuples(st.sampled_from(["settle", "fail", "unknown"]), st.just(0), st.just(0)),
    max_size=40,
)


class Owner:
    """Appends as a recorder does: it counts on all that it has submitted before."""

    def __init__(self, name: str, version: int) -> None:
        self.ids: Final = NumberedIds(name, 0.0)
        self.version = version
        self.last = b""
        self.submitted: Final[list[bytes]] = []
        self.outcomes: Final[list[Appended | CallboardError]] = []

    def append(self, journal: Journal, count: int) -> None:
        events = tuple(NewEvent(self.ids.next(), "moved", b"x") for _ in range(count))
        append = Append(STREAM, events, self.version, self.last)
        self.submitted.extend(event.id for event in events)
        self.version += count
        self.last = events[-1].id
        journal.submit(append, self.outcomes.append)


class Failing:
    """A store whose commits raise the errors in `faults`: `CommitUnknown` after the commit."""

    def __init__(self, store: EventStore) -> None:
        self.faults: Final[deque[CallboardError]] = deque()
        self._commit = store.commit

    def commit(self, appends: Sequence[Append]) -> list[Appended | CallboardError]:
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and not isinstance(fault, CommitUnknown):
            raise fault
        outcomes = self._commit(appends)
        if fault is not None:
            raise fault
        return outcomes


async def play(store: EventStore, steps: Sequence[Step]) -> tuple[list[Owner], list[bytes]]:
    """All owners that there were, and the ids of the stream in the end."""
    failing = Failing(store)
    store.commit = failing.commit  # type: ignore[method-assign] # the same call, with faults
    # Small groups, and no patience: what follows may be in the same group or in a later one.
    journal = Journal(store, owner="t", limits=JournalLimits(group_events=5, patience_s=0.0))
    await journal.open()
    names = map(str, itertools.count())
    owners = [Owner(next(names), 0) for _ in range(OWNERS)]
    ended: list[Owner] = []
    for what, number, count in steps:
        match what:
            case "append":
                owners[number].append(journal, count)
            case "begin":
                ended.append(owners[number])
                owners[number] = Owner(next(names), store.version_of(STREAM))
            case "turn":
                for _ in range(count):
                    await asyncio.sleep(0)
            case "settle":
                await journal.flush(WAIT_S)
            case "fail":
                failing.faults.append(StoreUnavailable("down"))
            case _:
                failing.faults.append(CommitUnknown("was it?"))
    await journal.flush(WAIT_S)
    found = [event.id for event in store.read_stream(STREAM)]
    await journal.close(WAIT_S)
    return [*ended, *owners], found


def check(owners: Sequence[Owner], found: Sequence[bytes], *, is_known: bool) -> None:
    for owner in owners:
        mine = set(owner.submitted)
        places = [place for place, id_ in enumerate(found) if id_ in mine]
        assert [found[place] for place in places] == owner.submitted[: len(places)], "a gap"
        assert not places or places == list(range(places[0], places[-1] + 1)), "not in a row"
        if is_known:
            kept = [isinstance(outcome, Appended) for outcome in owner.outcomes]
            assert kept == sorted(kept, reverse=True), "kept behind one that was refused"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=examples(150))
@given(steps=STEPS)
def test_what_is_refused_takes_what_is_behind_it(kind: str, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store: EventStore = MemoryEventStore()
        if kind == "sqlite":
            store = SqliteEventStore(Path(folder) / "log.db", durability="off")
        owners, found = asyncio.run(play(store, steps))
    is_known = all(what != "unknown" for what, _, _ in steps)
    check(owners, found, is_known=is_known)


async def test_the_race_that_this_is_about() -> None:
    """Two owners begin at once; the second one's first append counts on as many as were refused."""
    steps = [("append", 0, 1), ("append", 1, 1), ("append", 1, 1), ("append", 0, 1)]
    owners, found = await play(MemoryEventStore(), steps)
    assert found == owners[0].submitted
    assert [type(outcome).__name__ for outcome in owners[1].outcomes] == [
        "WrongExpectedVersion"
    ] * 2
