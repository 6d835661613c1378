"""Stores of blobs: their contract, and the faults of a folder."""

import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from callboard.messages.core.errors import SpecError
from callboard.messages.storage.blobs import BlobDamaged, BlobGone, BlobRef, BlobStore
from callboard.messages.storage.errors import StoreFull, StoreReadOnly, StoreUnavailable
from callboard.runtime.stores.blobs import FileBlobStore, MemoryBlobStore
from callboard.runtime.stores.choose import blob_store

KILLS: Final = 12
LARGE: Final = 3 * 2**20
WRITING: Final = """
import os, sys
from pathlib import Path
from callboard.runtime.stores.blobs import FileBlobStore
store = FileBlobStore(Path(sys.argv[1]), durability="normal")
os.write(1, b"ready\\n")
for number in range(10_000):
    ref, _ = store.put((number.to_bytes(4, "big") * (int(sys.argv[2]) // 4),))
    os.write(1, ref.digest.hex().encode() + b"\\n")
"""
REFUSED: Final = """
import os, sys
from pathlib import Path
from callboard.messages.core.errors import CallboardError
from callboard.runtime.stores.blobs import FileBlobStore
if os.getuid() == 0:  # whom no permission stops
    os.setuid(65534)
try:
    FileBlobStore(Path(sys.argv[1])).put((b"x",))
except CallboardError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log.db.blobs"


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, folder: Path) -> BlobStore:
    return FileBlobStore(folder) if request.param == "file" else MemoryBlobStore()


@pytest.fixture
def files(folder: Path) -> Iterator[FileBlobStore]:
    yield FileBlobStore(folder)
    assert not list((folder / "incoming").glob("*")), "nothing half written is left"


class TestContract:
    """The contract of the port, on every adapter."""

    def test_a_stored_blob_comes_back_from_any_parts(self, store: BlobStore) -> None:
        ref, is_new = store.put((b"one", b"", b"\0two"))
        assert is_new
        assert ref == BlobRef.of((b"one\0two",))
        assert store.get(ref) == b"one\0two"

    def test_equal_blobs_are_one(self, store: BlobStore) -> None:
        first = store.put((b"same",))
        assert store.put((b"sa", b"me")) == (first[0], False)
        assert [blob.digest for blob in store.blobs()] == [first[0].digest]

    def test_all_are_listed_and_forgotten_ones_are_gone(self, store: BlobStore) -> None:
        began = time.time() - 2.0
        refs = [store.put((bytes([n]) * (n + 1),))[0] for n in range(5)]
        listed = {blob.digest: blob for blob in store.blobs()}
        assert listed.keys() == {ref.digest for ref in refs}
        assert all(listed[ref.digest].size_bytes == ref.size_bytes for ref in refs)
        assert all(blob.stored_at > began for blob in listed.values())
        store.drop([refs[0].digest, refs[1].digest, bytes(32)])
        with pytest.raises(BlobGone, match="is missing"):
            store.get(refs[0])
        assert store.get(refs[2]) == b"\2\2\2"
        assert store.put((b"\0",)) == (refs[0], True)

    def test_an_unknown_blob_is_gone(self, store: BlobStore) -> None:
        with pytest.raises(BlobGone):
            store.get(BlobRef.of((b"never",)))
        assert not list(store.blobs())
        assert store.sweep(time.time()) == 0

    def test_an_empty_blob_is_a_blob(self, store: BlobStore) -> None:
        ref, _ = store.put(())
        assert store.get(ref) == b""


def path_of(folder: Path, ref: BlobRef) -> Path:
    name = ref.digest.hex()
    return folder / name[:2] / name


@pytest.mark.parametrize("damage", [b"", b"thas", b"that and more"])
def test_a_damaged_blob_is_reported_and_repaired_by_the_same_content(
    damage: bytes, files: FileBlobStore, folder: Path
) -> None:
    ref, _ = files.put((b"that",))
    path_of(folder, ref).write_bytes(damage)
    with pytest.raises(BlobDamaged, match="has changed"):
        files.get(ref)
    assert files.put((b"that",)) == (ref, True)
    assert files.get(ref) == b"that"


def test_a_blob_that_is_stored_again_is_young_again(files: FileBlobStore, folder: Path) -> None:
    """Otherwise a cleanup could drop it between its second `put` and the event with the ref."""
    ref, _ = files.put((b"that",))
    os.utime(path_of(folder, ref), (1.0, 1.0))
    assert next(files.blobs()).stored_at == 1.0
    files.put((b"that",))
    assert next(files.blobs()).stored_at > 1.0


def test_a_full_disk_is_reported_and_leaves_nothing(files: FileBlobStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StoreFull, match="Make room"):
            files.put((b"x" * 1_000_000,))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(files.blobs())
    assert files.put((b"x" * 1_000_000,))[1]


def test_a_read_only_folder_is_reported() -> None:
    """In a child, where the superuser, whom no permission stops, becomes another user."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        command = [sys.executable, "-c", REFUSED, f"{place}/blobs"]
        Path(place).chmod(0o555)
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        Path(place).chmod(0o755)
    assert done.stdout.split() == [StoreReadOnly.__name__]


def test_a_file_in_place_of_the_folder_is_reported(folder: Path) -> None:
    folder.write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="folder"):
        FileBlobStore(folder).put((b"x",))


def test_a_writer_that_is_killed_leaves_whole_blobs_or_none(folder: Path, root: Path) -> None:
    """Acknowledged blobs are there. Unfinished ones are harmless, and a sweep removes them."""
    store = FileBlobStore(folder)
    for number in range(KILLS):
        command = [sys.executable, "-c", WRITING, str(folder), str(LARGE)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 30.0)[0], "it hangs"
            assert process.stdout.readline() == b"ready\n"
            # The kill most likely hits the next blob.
            lines = [process.stdout.readline() for _ in range(number % 4)]
            process.kill()
            lines += [line for line in process.stdout if line.endswith(b"\n")]
        said = [bytes.fromhex(line.decode()) for line in lines]
        found = {blob.digest for blob in store.blobs()}
        assert found >= set(said)
        for digest in found:
            store.get(BlobRef(digest, LARGE))
        store.drop(found)
    store.sweep(time.time() + 1.0)
    assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("place", "url", "found"),
    [
        ("auto", "some/log.db", "blobs some/log.db.blobs"),
        ("auto", "sqlite:///log.db", "blobs log.db.blobs"),
        ("auto", "memory:", "blobs in memory"),
        ("auto", "postgresql://x/y", None),
        ("else/where", "postgresql://x/y", "blobs else/where"),
        ("off", "log.db", None),
    ],
)
def test_the_default_place(place: str, url: str, found: str | None) -> None:
    store = blob_store(place, url)
    assert (None if store is None else store.name) == found


def test_a_journal_of_no_known_kind_is_refused() -> None:
    with pytest.raises(SpecError):
        blob_store("auto", "mysql://x/y")
