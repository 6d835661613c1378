"""Objects as files in a folder. It needs no package.

An object is written under a temporary name, synced, and then linked to its own name, which fails
if there is one: so an object exists as a whole or not at all, and none is ever overwritten. The
unfinished file of a killed writer is removed a day later, when the store is opened.
"""

import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from callboard.actors.storage.objects import ObjectInfo, check_object_name, object_missing
from callboard.messages.storage.errors import StoreUnavailable, of_file

__all__ = ["LocalObjectStore"]

INCOMING: Final = ".incoming"
"""No name of an object begins with a dot."""
UNFINISHED_S: Final = 86_400.0
PUT_TRIES: Final = 5
FILE: Final = 0o600
FOLDER: Final = 0o700
NOTHING_THERE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalObjectStore:
    """An `ObjectStore` in a folder that only its owner can read.

    `durability` is as that of the database: with `full` an object is on the disk when `put`
    returns; with less it outlives every process.
    """

    def __init__(self, folder: str | Path, *, durability: str = "full") -> None:
        self._folder: Final = Path(folder)
        self.name: Final = f"objects {self._folder}"
        self._syncs = durability == "full"
        self._numbers = itertools.count(1)

    def open(self) -> None:
        """See `ObjectStore.open`."""
        with self._translate_errors():
            self._make(self._folder / INCOMING)
            for path in (self._folder / INCOMING).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < time.time() - UNFINISHED_S:
                        path.unlink()

    def close(self) -> None:
        """See `ObjectStore.close`."""

    def put(self, name: str, data: bytes) -> bool:
        """See `ObjectStore.put`."""
        path = self._path(name)
        with self._translate_errors():
            if path.is_file():
                self._sync_folder(path.parent)
                return False
            self._make(self._folder / INCOMING)
            number = f"{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
            begun = self._folder / INCOMING / number
            try:
                self._write(begun, data)
                for _ in range(PUT_TRIES - 1):
                    with contextlib.suppress(FileNotFoundError):  # `delete` took the folder.
                        return self._publish(begun, path)
                return self._publish(begun, path)
            finally:
                begun.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(path, flags, FILE), "wb") as file:  # noqa: PTH123 - of a descriptor
            os.fchmod(file.fileno(), FILE)  # The umask may have taken the owner's own rights.
            file.write(data)
            file.flush()
            if self._syncs:
                os.fsync(file.fileno())

    def _publish(self, begun: Path, path: Path) -> bool:
        self._make(path.parent)
        try:
            os.link(begun, path)
        except FileExistsError:
            if not path.is_file():
                raise  # A folder, in which other objects are.
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # A file system without links. Its names belong to one move, so one writer at a time.
            if path.is_file():
                return False
            begun.replace(path)
        self._sync_folder(path.parent)
        return True

    def get(self, name: str) -> bytes:
        """See `ObjectStore.get`."""
        try:
            with self._translate_errors():
                return self._path(name).read_bytes()
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NOTHING_THERE):
                raise object_missing(self.name, name) from None
            raise

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        """See `ObjectStore.read`."""
        try:
            with self._translate_errors(), self._path(name).open("rb") as file:
                file.seek(start)
                return file.read(size_bytes)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NOTHING_THERE):
                raise object_missing(self.name, name) from None
            raise

    def head(self, name: str) -> ObjectInfo | None:
        """See `ObjectStore.head`."""
        path = self._path(name)
        with self._translate_errors():
            if not path.is_file():
                return None
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                return ObjectInfo(name, found.st_size, found.st_mtime)
        return None

    def objects(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[ObjectInfo]:
        """See `ObjectStore.objects`."""
        found: list[ObjectInfo] = []
        with self._translate_errors():
            for name in sorted(self._names(prefix)):
                if len(found) == limit:
                    break
                if name > after:
                    with contextlib.suppress(FileNotFoundError):
                        status = (self._folder / name).stat()
                        found.append(ObjectInfo(name, status.st_size, status.st_mtime))
        return found

    def _names(self, prefix: str) -> Iterator[str]:
        # Only the folders that the prefix names; it may end within the name of one.
        folder = self._folder
        whole, _, _ = prefix.rpartition("/")
        if whole:
            check_object_name(whole)
            folder = folder / whole
        for place, folders, files in os.walk(folder):
            folders[:] = [each for each in folders if not each.startswith(".")]
            for file in files:
                name = (Path(place) / file).relative_to(self._folder).as_posix()
                if name.startswith(prefix) and not file.startswith("."):
                    yield name

    def delete(self, names: Sequence[str]) -> None:
        """See `ObjectStore.delete`."""
        paths = [self._path(name) for name in names]
        with self._translate_errors():
            for path in paths:
                with contextlib.suppress(*NOTHING_THERE):
                    path.unlink()
            for folder in {path.parent for path in paths}:
                with contextlib.suppress(*NOTHING_THERE):
                    self._sync_folder(folder)
                self._remove_empty(folder)

    def _remove_empty(self, folder: Path) -> None:
        """Remove folders without objects, so that their names are free."""
        with contextlib.suppress(OSError):
            while folder != self._folder:
                folder.rmdir()
                folder = folder.parent

    def copy(self, source: str, target: str) -> bool:
        """See `ObjectStore.copy`."""
        return self.put(target, self.get(source))

    def _path(self, name: str) -> Path:
        check_object_name(name)
        return self._folder / name

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        for place in reversed(missing):
            with contextlib.suppress(FileExistsError):  # Another process makes it as well.
                place.mkdir(FOLDER)
                place.chmod(FOLDER)
            self._sync_folder(place.parent)

    def _sync_folder(self, folder: Path) -> None:
        if not self._syncs:
            return
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise of_file(self.name, error) from error
