"""A dataset for the tests of moves: numbered rows with revisions, as JSON, in dictionaries."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from callboard.actors.storage.catalogue import Catalogue
from callboard.actors.storage.content import Encoded
from callboard.actors.storage.hot import HotRows
from callboard.actors.storage.moves import Move
from callboard.actors.storage.objects import (
    ObjectInfo,
    ObjectStore,
    check_object_name,
    object_missing,
)
from callboard.actors.storage.segments import Block, Segment, SegmentState
from callboard.messages.storage.errors import StoreDamaged

__all__ = ["DATASET", "Crash", "Crashes", "DictionaryStore", "PlainContent", "PlainHot", "read_all"]

DATASET: Final = "plain/rows"
Rows = dict[int, int]
"""The revision of each row, by its number, which is also its time."""


class PlainHot:
    """Hot rows in a dictionary; they share the lock of a `MemoryCatalogue`."""

    def __init__(self) -> None:
        self.rows: Final[Rows] = {}

    def in_block(self, block: Block) -> Rows:
        return {key: rev for key, rev in self.rows.items() if block.from_ns <= key < block.to_ns}

    def stamp(self, connection: Any, block: Block) -> str:
        found = self.in_block(block)
        return f"{len(found)} {sum(found.values())}" if found else ""

    def delete(self, connection: Any, block: Block, stamp: str) -> bool:
        if self.stamp(connection, block) != stamp:
            return False
        for key in self.in_block(block):
            del self.rows[key]
        return True


class DictionaryStore:
    """An `ObjectStore` in a dictionary."""

    name = "dictionary"

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.files: Final[dict[str, bytes]] = {}
        self._now = now

    def open(self) -> None: ...

    def close(self) -> None: ...

    def put(self, name: str, data: bytes) -> bool:
        check_object_name(name)
        return self.files.setdefault(name, data) is data

    def get(self, name: str) -> bytes:
        if name not in self.files:
            raise object_missing(self.name, name)
        return self.files[name]

    def read(self, name: str, start: int, size_bytes: int) -> bytes:
        return self.get(name)[start : start + size_bytes]

    def head(self, name: str) -> ObjectInfo | None:
        data = self.files.get(name)
        return None if data is None else ObjectInfo(name, len(data), self._now())

    def objects(self, prefix: str = "", *, after: str = "", limit: int = 1_000) -> list[ObjectInfo]:
        names = sorted(name for name in self.files if name.startswith(prefix) and name > after)
        return [ObjectInfo(name, len(self.files[name]), 0.0) for name in names[:limit]]

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            self.files.pop(name, None)

    def copy(self, source: str, target: str) -> bool:
        return self.put(target, self.get(source))


class PlainContent:
    """The `Content` of these rows."""

    def __init__(self, hot: PlainHot, refuses: Callable[[Move], str] = lambda _move: "") -> None:
        self._hot = hot
        self._refuses = refuses

    def encode(self, move: Move, sources: Sequence[tuple[Segment, bytes]]) -> Encoded | None:
        rows = self._hot.in_block(move.block) if not move.sources else {}
        for _, data in sources:
            rows = merged([rows, decoded(data)])
        if not rows:
            return None
        block = move.block._replace(from_ns=min(rows), to_ns=max(rows) + 1)
        return Encoded(json.dumps(sorted(rows.items())).encode(), len(rows), block)

    def count(self, dataset: str, data: bytes) -> int:
        try:
            return len(decoded(data))
        except ValueError as error:
            raise StoreDamaged(str(error)) from error

    def refusal(self, move: Move, sources: Sequence[tuple[Segment, bytes]]) -> str:
        return self._refuses(move)


def decoded(data: bytes) -> Rows:
    return dict(json.loads(data))


def merged(parts: Iterable[Rows]) -> Rows:
    found: Rows = {}
    for part in parts:
        for key, revision in part.items():
            found[key] = max(revision, found.get(key, 0))
    return found


def read_all(hot: PlainHot, catalogue: Catalogue, store: ObjectStore) -> Rows:
    """What a reader finds: first the hot rows, then the segments; the newest revision of each.

    Fails when a row is in two places in the same revision.
    """
    parts = [dict(hot.rows)]
    parts += [
        decoded(store.get(segment.name))
        for segment in catalogue.segments(DATASET)
        if segment.state is SegmentState.LIVE
    ]
    copies = [item for part in parts for item in part.items()]
    assert len(set(copies)) == len(copies), "a row is in two places"
    return merged(parts)


class Crash(BaseException):
    """The end of a process, at any call."""


class Crashes:
    """Lets a process crash before or after one of its calls to what it wraps."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.points = 0
        """How many points have passed."""

    def wrap(self, target: Any) -> Any:
        return _Wrapped(target, self)

    def point(self) -> None:
        self.points += 1
        if self.points - 1 == self.at:
            raise Crash


class _Wrapped:
    def __init__(self, target: Any, crashes: Crashes) -> None:
        self._target = target
        self._crashes = crashes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def call(*values: Any, **named: Any) -> Any:
            self._crashes.point()
            result = found(*values, **named)
            self._crashes.point()
            return result

        return call


def as_hot(hot: PlainHot) -> HotRows:
    return hot
