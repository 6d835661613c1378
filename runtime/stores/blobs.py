"""Blobs in a folder next to the journal whose events refer to them; and in memory, for tests.

A blob is written under a temporary name, synced, and then renamed to the name of its content, so
that a blob exists as a whole or not at all. The unfinished file of a killed writer keeps its
temporary name until `sweep`.
"""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from callboard.messages.storage.blobs import BlobGone, BlobRef, StoredBlob
from callboard.messages.storage.errors import StoreUnavailable, of_file

from .private import narrow, open_private, private_folder

__all__ = ["FileBlobStore", "MemoryBlobStore"]

INCOMING: Final = "incoming"
HEX: Final = "[0-9a-f]"


class FileBlobStore:
    """Blobs as files. The first blob creates the folder.

    `durability` is the durability of the journal: with `full` a blob is on the disk when `put`
    returns; with less it outlives every process.
    """

    def __init__(self, folder: Path, *, durability: str = "full") -> None:
        self.name: Final = f"blobs {folder}"
        self._folder: Final = folder
        self._syncs = durability == "full"
        self._numbers = itertools.count(1)
        self._is_narrow = False

    def put(self, parts: Sequence[bytes]) -> tuple[BlobRef, bool]:
        """See `BlobStore`. It replaces a damaged blob of the same name."""
        ref = BlobRef.of(parts)
        path = self._path(ref.digest)
        with self._translate_errors():
            self._narrow()
            if self._is_there(path, ref):
                os.utime(path)  # Young again, so that a cleanup of old blobs spares it.
                self._sync_folder(path.parent)
                return ref, False
            self._make(path.parent)
            self._make(self._folder / INCOMING)
            self._write(path, parts)
        return ref, True

    def _narrow(self) -> None:
        """Narrow what an earlier release has left wider, once. The folder itself may be shared."""
        if not self._is_narrow:
            narrow((*self._folder.glob(HEX + HEX), self._folder / INCOMING))
            self._is_narrow = True

    def _write(self, path: Path, parts: Sequence[bytes]) -> None:
        number = f"{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        begun = self._folder / INCOMING / f"{path.name}.{number}"
        try:
            with open(open_private(begun, os.O_WRONLY), "wb") as file:  # noqa: PTH123 - of a descriptor
                file.writelines(parts)
                file.flush()
                if self._syncs:
                    os.fsync(file.fileno())
            begun.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                begun.unlink()
            raise
        self._sync_folder(path.parent)

    def _is_there(self, path: Path, ref: BlobRef) -> bool:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return False
        return len(data) == ref.size_bytes and BlobRef.of((data,)) == ref

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        private_folder(folder)
        self._sync_folder(folder.parent)
        self._sync_folder(self._folder.parent)

    def _sync_folder(self, folder: Path) -> None:
        if not self._syncs:
            return
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def get(self, ref: BlobRef) -> bytes:
        """See `BlobStore`."""
        try:
            with self._translate_errors():
                data = self._path(ref.digest).read_bytes()
        except StoreUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise _gone(self.name, ref) from None
            raise
        ref.check(data, self.name)
        return data

    def blobs(self) -> Iterator[StoredBlob]:
        """See `BlobStore`."""
        with self._translate_errors():
            for path in sorted(self._folder.glob("??/*")):
                with contextlib.suppress(ValueError, FileNotFoundError):
                    found = path.stat()
                    yield StoredBlob(bytes.fromhex(path.name), found.st_size, found.st_mtime)

    def drop(self, digests: Iterable[bytes]) -> None:
        """See `BlobStore`."""
        with self._translate_errors():
            for digest in digests:
                self._path(digest).unlink(missing_ok=True)

    def sweep(self, before: float) -> int:
        """See `BlobStore`."""
        count = 0
        with self._translate_errors():
            for path in (self._folder / INCOMING).glob("*"):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()
                        count += 1
        return count

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / name[:2] / name

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise of_file(self.name, error) from error


class MemoryBlobStore:
    """Blobs in memory, for a journal in memory."""

    name: Final = "blobs in memory"

    def __init__(self) -> None:
        self._blobs: dict[bytes, tuple[bytes, float]] = {}

    def put(self, parts: Sequence[bytes]) -> tuple[BlobRef, bool]:
        """See `BlobStore`."""
        ref = BlobRef.of(parts)
        is_new = ref.digest not in self._blobs
        self._blobs[ref.digest] = (b"".join(parts), time.time())
        return ref, is_new

    def get(self, ref: BlobRef) -> bytes:
        """See `BlobStore`."""
        found = self._blobs.get(ref.digest)
        if found is None:
            raise _gone(self.name, ref)
        ref.check(found[0], self.name)
        return found[0]

    def blobs(self) -> Iterator[StoredBlob]:
        """See `BlobStore`."""
        for digest, (data, at) in sorted(self._blobs.items()):
            yield StoredBlob(digest, len(data), at)

    def drop(self, digests: Iterable[bytes]) -> None:
        """See `BlobStore`."""
        for digest in digests:
            self._blobs.pop(digest, None)

    def sweep(self, before: float) -> int:
        """See `BlobStore`. There are no unfinished blobs here."""
        del before
        return 0


def _gone(name: str, ref: BlobRef) -> BlobGone:
    return BlobGone(
        f"{name}: the blob {ref.digest.hex()[:16]} of {ref.size_bytes} bytes is missing.",
        advice="Restore it from a backup; without it a resume runs its sub-task again.",
    )
