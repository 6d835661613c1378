"""A folder as an object store: what a crash, another user, or a full disk leaves."""

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from callboard.actors.storage.objects import ObjectMissing
from callboard.messages.core.errors import StoreFailed
from callboard.messages.storage.errors import StoreFull, StoreReadOnly, StoreUnavailable
from callboard.runtime.objects.local import INCOMING, UNFINISHED_S, LocalObjectStore

WRITER = """
import sys
from callboard.runtime.objects.local import LocalObjectStore

store = LocalObjectStore(sys.argv[1], durability="off")
store.open()
number = 0
while True:
    number += 1
    store.put(f"many/{number:06d}", bytes([number % 256]) * 200_000)
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_objects_only(tmp_path: Path) -> None:
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / str(round_))], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        last = 0
        for _ in range(20):
            last = int(process.stdout.readline())
        process.kill()
        process.wait()
        process.stdout.close()
        store = LocalObjectStore(tmp_path / str(round_), durability="off")
        store.open()
        found = store.objects()
        assert len(found) >= last
        for number, each in enumerate(found, start=1):
            assert store.get(each.name) == bytes([number % 256]) * 200_000


def test_objects_and_folders_belong_to_their_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = LocalObjectStore(tmp_path / "new" / "objects")
        store.open()
        store.put("a/b", b"1")
    finally:
        os.umask(old)
    for place in (tmp_path / "new").rglob("*"):
        mode = stat.S_IMODE(place.stat().st_mode)
        assert mode == (0o700 if place.is_dir() else 0o600)
    assert not list((tmp_path / "new" / "objects" / INCOMING).iterdir())


def test_what_killed_writers_left_goes_after_a_day(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.open()
    old, new = tmp_path / INCOMING / "1-1-1", tmp_path / INCOMING / "2-2-2"
    old.write_bytes(b"x")
    new.write_bytes(b"y")
    os.utime(old, (0, old.stat().st_mtime - UNFINISHED_S - 60))
    store.open()
    assert not old.exists()
    assert new.exists()
    assert store.objects() == []


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    store.open()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(StoreFull):
            store.put("a", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.objects() == []
    assert store.put("a", b"x" * 100_000)


def test_a_file_in_the_place_of_the_folder_is_an_error_of_a_store(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("x")
    store = LocalObjectStore(place)
    with pytest.raises(StoreFailed) as failed:
        store.open()
    assert isinstance(failed.value, StoreUnavailable | StoreReadOnly)
    with pytest.raises(ObjectMissing):
        store.get("a")
