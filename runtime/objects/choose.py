"""Object stores by their URL: a folder, or S3, GCS, Azure and memory."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, SeriesKey
from callboard.actors.metrics.tiers.ports import Fetch, WindowFormat
from callboard.actors.storage.objects import ObjectStore
from callboard.messages.core.errors import SpecError

__all__ = ["LazyWindows", "ObjectStores", "location_of", "object_store", "window_format"]

DATA_EXTRA: Final = "Install the extra: pip install 'callboard[data]'."


def object_store(url: str, *, durability: str = "full", **options: Any) -> ObjectStore:
    """The object store at a URL, not yet opened. Raises `SpecError`.

    A path or `file:///path` is a folder. `s3://bucket/prefix`, `gs://`, `az://` and `memory:///`
    need the extra `data`; `options` are those of the package obstore.
    """
    if not url.strip() or "\0" in url:
        raise SpecError(
            "the URL of an object store is empty, or has a NUL character.",
            advice="Name a folder, or s3://bucket/prefix.",
        )
    from .local import LocalObjectStore

    if url.startswith("file://"):
        return LocalObjectStore(Path(unquote(urlsplit(url).path)), durability=durability)
    if "://" not in url:
        return LocalObjectStore(url, durability=durability)
    try:
        from .remote import RemoteObjectStore
    except ImportError as error:
        raise SpecError(
            f"the object store {url.partition('://')[0]}:// needs the package obstore ({error}).",
            advice=DATA_EXTRA,
        ) from error
    return RemoteObjectStore(url, **options)


def location_of(url: str) -> str:
    """The URL as a catalogue keeps it: a folder has the same path in every process."""
    return url if "://" in url else str(Path(url).absolute())


class ObjectStores(Mapping[str, ObjectStore]):
    """The object stores by their locations, which are URLs: each is opened at its first use.

    A segment's location says where it is, also when new segments go to another place by now.
    """

    def __init__(
        self, locations: Sequence[str] = (), *, durability: str = "full", **options: Any
    ) -> None:
        """Raises `SpecError` for one of `locations` that names no store."""
        self._durability = durability
        self._options = options
        self._lock = threading.Lock()
        self._opened: Final[set[str]] = set()
        self._stores: Final = {location: self._make(location) for location in locations}

    def _make(self, location: str) -> ObjectStore:
        return object_store(location, durability=self._durability, **self._options)

    def __getitem__(self, location: str) -> ObjectStore:
        with self._lock:
            store = self._stores.get(location)
            if store is None:
                store = self._stores[location] = self._make(location)
            if location not in self._opened:
                store.open()
                self._opened.add(location)
            return store

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._stores))

    def __len__(self) -> int:
        return len(self._stores)

    def close(self) -> None:
        """Close all of them."""
        for store in self._stores.values():
            store.close()


class LazyWindows:
    """A `WindowFormat` that asks for the extra `data` when the first segment is read or written."""

    def __init__(self) -> None:
        self._made: WindowFormat | None = None

    def _form(self) -> WindowFormat:
        if self._made is None:
            self._made = window_format()
        return self._made

    def write(self, rows: WindowRows, level: int) -> bytes:
        """See `WindowFormat.write`."""
        return self._form().write(rows, level)

    def write_parts(self, parts: Iterable[WindowRows], level: int) -> bytes:
        """See `WindowFormat.write_parts`."""
        return self._form().write_parts(parts, level)

    def count(self, data: bytes) -> int:
        """See `WindowFormat.count`."""
        return self._form().count(data)

    def series(
        self, name: str, fetch: Fetch, matchers: Sequence[Matcher], from_ns: int, to_ns: int
    ) -> set[SeriesKey]:
        """See `WindowFormat.series`."""
        return self._form().series(name, fetch, matchers, from_ns, to_ns)

    def read(
        self,
        name: str,
        fetch: Fetch,
        width_ns: int,
        matchers: Sequence[Matcher],
        from_ns: int,
        to_ns: int,
        limit: int,
        *,
        bare: bool = False,
    ) -> WindowRows:
        """See `WindowFormat.read`."""
        return self._form().read(name, fetch, width_ns, matchers, from_ns, to_ns, limit, bare=bare)

    def close(self) -> None:
        """See `WindowFormat.close`."""
        if self._made is not None:
            self._made.close()


def window_format() -> WindowFormat:
    """The format of segments of windows: Parquet. Raises `SpecError` without the extra `data`."""
    try:
        from .parquet import ParquetWindows
    except ImportError as error:
        raise SpecError(
            f"segments in Parquet need the package duckdb ({error}).", advice=DATA_EXTRA
        ) from error
    return ParquetWindows()
