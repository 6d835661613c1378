"""Objects in S3, Google Cloud Storage, Azure, or memory, by the package obstore (extra `data`).

Requests have timeouts and are repeated by the package. `put` asks the store to refuse a name that
exists, in one request, so that two writers never overwrite each other.
"""

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import from_url

from callboard.actors.storage.objects import ObjectInfo, check_object_name, object_missing
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import StoreReadOnly, StoreUnavailable

__all__ = ["RemoteObjectStore"]

REQUEST_S: Final = 30
RETRIES: Final = 5
RETRIES_S: Final = 60.0
NETWORK: Final = frozenset({"s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "https"})
MEMORY: Final = "memory"


class RemoteObjectStore:
    """An `ObjectStore` behind a URL.

    Credentials come from the environment, as the cloud's own programs read them. `options` are
    obstore's, such as `endpoint`.
    """

    def __init__(self, url: str, **options: Any) -> None:
        """Raises `SpecError` for a URL that names no store."""
        parts = urlsplit(url)
        if parts.scheme not in NETWORK | {MEMORY}:
            raise SpecError(
                f"{parts.scheme}:// is no known object store.",
                advice="Use a folder, s3://bucket/prefix, gs://…, az://… or memory:///.",
            )
        self.name: Final = f"objects {parts.scheme}://{parts.hostname or ''}{parts.path}"
        if parts.scheme != MEMORY:
            options.setdefault("client_options", {"timeout": f"{REQUEST_S}s"})
            options.setdefault(
                "retry_config",
                {"max_retries": RETRIES, "retry_timeout": dt.timedelta(seconds=RETRIES_S)},
            )
        try:
            self._store: Any = from_url(url, **options)
        except (BaseError, ValueError) as error:
            raise SpecError(
                f"{self.name} cannot be used: {_sentence(error)}",
                advice="Check the URL, the region and the endpoint.",
            ) from error

    def open(self) -> None:
        """See `ObjectStore.open`. A bucket must exist."""
        self.objects(limit=1)

    def close(self) -> None:
        """See `ObjectStore.close`."""

    def put(self, name: str, data: bytes) -> bool:
        """See `ObjectStore.put`."""
        check_object_name(name)
        with self._translate_errors(name):
            try:
                obstore.put(self._store, name, data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def get(self, name: str) -> bytes:
        """See `ObjectStore.get`."""
        check_object_name(name)
        with self._translate_errors(name):
            return bytes(obstore.get(self._store, name).bytes())

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        """See `ObjectStore.read`."""
        there = self.head(name)
        if there is None:
            raise object_missing(self.name, name)
        length = min(size_bytes, there.size_bytes - start)
        if length <= 0:  # Stores refuse an empty range.
            return b""
        with self._translate_errors(name):
            return bytes(obstore.get_range(self._store, name, start=start, length=length))

    def head(self, name: str) -> ObjectInfo | None:
        """See `ObjectStore.head`."""
        check_object_name(name)
        with self._translate_errors(name):
            try:
                return _info(obstore.head(self._store, name))
            except FileNotFoundError:
                return None

    def objects(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[ObjectInfo]:
        """See `ObjectStore.objects`."""
        # The store compares whole parts between slashes; we compare characters.
        whole, _, _ = prefix.rpartition("/")
        found: list[ObjectInfo] = []
        with self._translate_errors(prefix):
            pages = obstore.list(
                self._store, prefix=whole or None, offset=after or None, chunk_size=1_000
            )
            for page in pages:
                found += [each for each in map(_info, page) if each.name.startswith(prefix)]
        # Not every store lists in order, and memory and S3 differ in it.
        found = [each for each in found if each.name > after]
        return sorted(found)[:limit]

    def delete(self, names: Sequence[str]) -> None:
        """See `ObjectStore.delete`."""
        for name in names:
            check_object_name(name)
            with self._translate_errors(name), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, name)

    def copy(self, source: str, target: str) -> bool:
        """See `ObjectStore.copy`."""
        check_object_name(source)
        check_object_name(target)
        with self._translate_errors(source):
            try:
                obstore.copy(self._store, source, target, overwrite=False)
            except AlreadyExistsError:
                return False
            except NotSupportedError:  # S3 itself knows no condition for a copy.
                return self.put(target, self.get(source))
        return True

    @contextlib.contextmanager
    def _translate_errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise object_missing(self.name, name) from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise StoreReadOnly(
                f"{self.name}: access to {name or 'the list of objects'} is denied.",
                advice="Give the credentials the right to list, read, write and delete.",
                may_have_run=False,
            ) from error
        except (BaseError, OSError) as error:
            raise StoreUnavailable(
                f"{self.name}: {_sentence(error)}",
                advice="Check the network, the endpoint and the bucket. Callboard tries again.",
            ) from error


def _info(meta: Any) -> ObjectInfo:
    return ObjectInfo(meta["path"], meta["size"], meta["last_modified"].timestamp())


def _sentence(error: Exception) -> str:
    """The first line of an error; the rest is a tree of causes."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return text if text.endswith(".") else f"{text}."
