"""The simulated disk: synced commits stay, others may be lost, and a commit is complete."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from callboard.messages.core.errors import StoreFailed
from callboard.messages.storage.errors import CommitUnknown, WriterFenced
from callboard.messages.storage.events import Append, NewEvent, RecordedEvent
from callboard.runtime.testing.loop import Later

from .disk import DiskFaults, SimulatedDisk, SimulatedEventStore
from .mutations import MUTATIONS
from .run import run_seed
from .scenarios import SCENARIOS


def disk_of(seed: int = 0) -> tuple[SimulatedDisk, list[RecordedEvent]]:
    synced: list[RecordedEvent] = []
    return SimulatedDisk(random.Random(seed).random, lambda: 0.0, synced.append), synced


def two(number: int) -> list[Append]:
    events = [NewEvent(bytes([number, n]) * 8, "k", b"") for n in range(2)]
    return [Append("s", tuple(events))]


def to_its_end(outcome: Any) -> Any:
    while isinstance(outcome, Later):
        outcome = outcome.then()
    return outcome


def test_a_reader_sees_synced_commits_only() -> None:
    disk, synced = disk_of()
    store = SimulatedEventStore(disk)
    store.take_over("me")
    written = store.commit(two(1)).then()
    assert store.read(0, 10) == []
    (appended,) = to_its_end(written)
    assert (appended.first, appended.last) == (1, 2)
    assert [event.position for event in store.read_stream("s")] == [1, 2]
    assert synced == store.read(0, 10)


@pytest.mark.parametrize("moment", ["on its way", "written"])
def test_a_crash_leaves_a_commit_wholly_or_not_at_all(moment: str) -> None:
    kept = set()
    for seed in range(40):
        disk, synced = disk_of(seed)
        store = SimulatedEventStore(disk)
        store.take_over("me")
        to_its_end(store.commit(two(1)))
        later = store.commit(two(2))
        if moment == "written":
            later.then()
        disk.crash()
        kept.add(len(synced))
        assert disk.log.head() == disk.synced == len(synced)
    assert kept == {2, 4}


def test_an_old_writer_is_fenced_at_the_moment_of_its_write() -> None:
    disk, synced = disk_of()
    old, new = SimulatedEventStore(disk), SimulatedEventStore(disk)
    old.take_over("old")
    on_its_way = old.commit(two(1))
    new.take_over("new")
    with pytest.raises(WriterFenced):
        to_its_end(on_its_way)
    assert synced == []


def test_a_commit_without_an_answer_is_repeated_safely() -> None:
    hidden = set()
    for seed in range(40):
        disk, _ = disk_of(seed)
        store = SimulatedEventStore(disk)
        store.take_over("me")
        disk.faults = DiskFaults(unknown=1.0)
        with pytest.raises(CommitUnknown):
            to_its_end(store.commit(two(1)))
        hidden.add(disk.log.head())
        disk.faults = DiskFaults()
        (appended,) = to_its_end(store.commit(two(1)))
        assert (appended.first, disk.synced) == (1, 2)
    assert hidden == {0, 2}


@pytest.mark.parametrize("faults", [DiskFaults(unavailable=1.0), DiskFaults(full=1.0)])
def test_a_disk_that_fails_has_written_nothing(faults: DiskFaults) -> None:
    disk, _ = disk_of()
    store = SimulatedEventStore(disk)
    store.take_over("me")
    disk.faults = faults
    with pytest.raises(StoreFailed):
        store.commit(two(1))
    assert disk.log.head() == 0


def broken(seeds: range) -> list[int]:
    run: Callable[[int], Any] = lambda seed: run_seed("durable", SCENARIOS["durable"], seed)  # noqa: E731
    return [seed for seed in seeds if run(seed).broken]


def test_an_append_behind_a_refused_one_never_meets_the_version_it_expects() -> None:
    """In some seeds from 250 on, an old owner wrote after the first event of the new owner."""
    with MUTATIONS["old_owner_goes_on"].applied():
        assert broken(range(250, 260))
    assert not broken(range(250, 260))
