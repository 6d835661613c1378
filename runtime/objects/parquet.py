"""Segments of windows as Parquet, written and read by DuckDB (extra `data`).

A row is a window. The columns of the series (`kind`, `name`, `tags`) repeat, and so take next to no
space; `series` numbers them. The bins of a sketch are two columns of bytes: the steps between keys
and the counts, as numbers of variable length. Rows are sorted by series and start, and groups of
rows have statistics, so that a query of one series reads few of them.

DuckDB works on private temporary files. It may read nothing else, load no extension, use a bounded
memory, and is interrupted at its deadline.
"""

import collections
import contextlib
import dataclasses
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from callboard.actors.metrics.query.columns import take_rows
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, MetricKind, SeriesKey
from callboard.actors.metrics.sketch import SketchColumns
from callboard.actors.metrics.tiers.ports import Fetch
from callboard.messages.core.errors import StoreFailed
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable

from .scratch import ScratchFolder
from .varint import decode_numbers, encode_numbers, folded, unfolded

__all__ = ["ParquetWindows"]

DEADLINE_S: Final = 30.0
MEMORY_MIB: Final = 512
CACHE_BYTES: Final = 256 * 2**20
"""Files of segments that were read; the oldest go."""
SERIES_CACHED_MAX: Final = 64
"""Segments whose series are kept in memory."""
UNREADABLE: Final = (ValueError, TypeError, AttributeError, KeyError)
"""What bytes raise that are no text, no JSON or no numbers."""
GROUP_ROWS: Final = 20_480
COLUMNS: Final = "series, start_ns, count, sum, min, max, last, revision, flags, bins, keys, counts"
BARE: Final = COLUMNS.removesuffix(", keys, counts")
PART_LEVEL: Final = 1
FLOATS: Final = (("sum", "sums"), ("min", "minima"), ("max", "maxima"))


class _Listed(NamedTuple):
    """The series of a segment."""

    keys: Sequence[SeriesKey]
    numbers: npt.NDArray[np.int64]


class ParquetWindows:
    """A `WindowFormat`. Threads take turns."""

    def __init__(self, *, deadline_s: float = DEADLINE_S, cache_bytes: int = CACHE_BYTES) -> None:
        self._scratch: Final = ScratchFolder()
        self._folder: Final = self._scratch.path
        self._deadline_s = deadline_s
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._files: collections.OrderedDict[str, Path] = collections.OrderedDict()
        self._listed: collections.OrderedDict[str, _Listed] = collections.OrderedDict()
        self._number = 0
        self._duck: duckdb.DuckDBPyConnection | None = None

    # --- DuckDB ----------------------------------------------------------------------------------

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._duck is None:
            duck = duckdb.connect(":memory:", config={"threads": 1})
            for setting in (
                f"memory_limit = '{MEMORY_MIB}MiB'",
                "temp_directory = ''",
                "preserve_insertion_order = true",
                "enable_progress_bar = false",
                "autoinstall_known_extensions = false",
                "autoload_known_extensions = false",
                f"allowed_directories = [{_quoted(f'{self._folder}/')}]",
                "enable_external_access = false",
                "lock_configuration = true",
            ):
                duck.execute(f"SET {setting}").fetchall()
            self._duck = duck
        return self._duck

    @contextlib.contextmanager
    def _running(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """DuckDB, with a deadline; its errors as those of a store."""
        with self._lock:
            duck = self._connection()
            timer = threading.Timer(self._deadline_s, duck.interrupt)
            timer.daemon = True
            timer.start()
            is_done = False
            try:
                yield duck
                is_done = True
            except duckdb.InterruptException as error:
                raise StoreUnavailable(
                    f"DuckDB has not read a segment in {self._deadline_s:g} s.",
                    advice="Ask for a shorter time or fewer series.",
                    may_have_run=False,
                ) from error
            except duckdb.OutOfMemoryException as error:
                raise StoreFailed(
                    f"DuckDB needs more than {MEMORY_MIB} MiB for a segment.",
                    advice="Ask for a shorter time or fewer series.",
                    may_have_run=False,
                ) from error
            except (duckdb.Error, *UNREADABLE) as error:
                raise _damaged(str(error)) from error
            except OSError as error:
                raise StoreUnavailable(
                    f"the temporary files of segments in {self._folder}: {error.strerror}.",
                    advice="Make room there, or set TMPDIR to another folder.",
                    may_have_run=False,
                ) from error
            finally:
                timer.cancel()
                if not is_done:  # The next call gets a connection without unfinished results.
                    self._duck = None
                    duck.close()

    def _new_path(self) -> Path:
        self._number += 1
        return self._folder / f"{self._number}.parquet"

    # --- writing ---------------------------------------------------------------------------------

    def write(self, rows: WindowRows, level: int) -> bytes:
        """See `WindowFormat.write`."""
        return self.write_parts((rows,), level)

    def write_parts(self, parts: Iterable[WindowRows], level: int) -> bytes:
        """See `WindowFormat.write_parts`. Each part is a file, until they are copied into one."""
        paths: list[Path] = []
        numbered = 0
        try:
            for rows in parts:
                # A single part is written as it stays.
                path = self._write(rows, numbered, level if not paths else PART_LEVEL)
                numbered += len(rows.series)
                paths.append(path)
            if len(paths) > 1:
                paths.append(self._joined(paths, level))
            return paths[-1].read_bytes()
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def _write(self, rows: WindowRows, first_number: int, level: int) -> Path:
        columns = _columns_of(_sorted(rows))
        columns["series"] += np.int32(first_number)
        with self._running() as duck:
            path = self._new_path()
            duck.register("window_rows", columns)
            try:
                duck.execute(
                    "COPY (SELECT * REPLACE (name::VARCHAR AS name, tags::VARCHAR AS tags, "  # noqa: S608 - our own path
                    "keys::BLOB AS keys, counts::BLOB AS counts, "
                    "CASE WHEN isnan(last) THEN NULL ELSE last END AS last) FROM window_rows) "
                    f"TO {_target(path, level)}"
                ).fetchall()
            finally:
                duck.unregister("window_rows")
        return path

    def _joined(self, paths: Sequence[Path], level: int) -> Path:
        with self._running() as duck:
            path = self._new_path()
            # No sort and no join: the rows stream, in their order, whatever their number.
            files = ",".join(_quoted(str(each)) for each in paths)
            duck.execute(
                f"COPY (SELECT * FROM read_parquet([{files}])) TO {_target(path, level)}"  # noqa: S608 - our own paths
            ).fetchall()
        return path

    def count(self, data: bytes) -> int:
        """See `WindowFormat.count`. It reads every column of every row."""
        with self._running() as duck:
            path = self._new_path()
            try:
                path.write_bytes(data)
                found = duck.execute(
                    "SELECT count(*), sum(octet_length(keys) + octet_length(counts)), "  # noqa: S608 - our own path
                    "sum(start_ns % 2 + count + revision + flags + bins + series), "
                    "sum(coalesce(last, 0) + sum + min + max), "
                    f"sum(kind + length(name) + length(tags)) FROM {_table(path)}"
                ).fetchall()
            finally:
                path.unlink(missing_ok=True)
        return int(found[0][0])

    # --- reading ---------------------------------------------------------------------------------

    def series(
        self, name: str, fetch: Fetch, matchers: Sequence[Matcher], from_ns: int, to_ns: int
    ) -> set[SeriesKey]:
        """See `WindowFormat.series`."""
        with self._reading(name, fetch) as (duck, path):
            listed = self._listed_of(duck, name, path)
            chosen = _matching(listed, matchers)
            if not len(chosen):
                return set()
            found = duck.execute(
                f"SELECT DISTINCT series FROM {_table(path)} "  # noqa: S608 - our own path
                "WHERE start_ns >= $1 AND start_ns < $2",
                [from_ns, to_ns],
            ).fetchnumpy()["series"]
        wanted = np.intersect1d(chosen, found)
        return {listed.keys[place] for place in np.searchsorted(listed.numbers, wanted).tolist()}

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
        with self._reading(name, fetch) as (duck, path):
            listed = self._listed_of(duck, name, path)
            chosen = _matching(listed, matchers)
            if not len(chosen):
                return WindowRows.empty(width_ns)
            found = duck.execute(
                f"SELECT {BARE if bare else COLUMNS} FROM {_table(path)} "  # noqa: S608 - our own words
                "WHERE start_ns >= $1 AND start_ns < $2 "
                f"{_series_condition(chosen, len(listed.keys))} LIMIT {limit + 1:d}",
                [from_ns, to_ns],
            ).fetchnumpy()
        if bare:
            none = np.zeros(len(found["bins"]), object)
            none[:] = b""
            found |= {"bins": np.zeros(len(none), np.int64), "keys": none, "counts": none}
        return _rows_of(found, width_ns, listed)

    def _listed_of(self, duck: duckdb.DuckDBPyConnection, name: str, path: Path) -> _Listed:
        listed = self._listed.get(name)
        if listed is None:
            found = duck.execute(
                "SELECT DISTINCT series, kind, name, tags "  # noqa: S608 - our own path
                f"FROM {_table(path)} ORDER BY series"
            ).fetchall()
            listed = _Listed(
                [_key(kind, metric, tags) for _, kind, metric, tags in found],
                np.array([row[0] for row in found], np.int64),
            )
            self._listed[name] = listed
            while len(self._listed) > SERIES_CACHED_MAX:
                self._listed.popitem(last=False)
        else:
            self._listed.move_to_end(name)
        return listed

    @contextlib.contextmanager
    def _reading(self, name: str, fetch: Fetch) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
        """DuckDB, and the segment as a file that it can read."""
        # Read from its store before the threads take turns.
        data = None if name in self._files else fetch()
        with self._running() as duck:
            path = self._files.get(name)
            if path is None:
                path = self._keep(name, fetch() if data is None else data)
            self._files.move_to_end(name)
            yield duck, path

    def _keep(self, name: str, data: bytes) -> Path:
        path = self._new_path()
        path.write_bytes(data)
        self._files[name] = path
        sizes = {each: file.stat().st_size for each, file in self._files.items()}
        total = sum(sizes.values())
        while total > self._cache_bytes and len(self._files) > 1:
            oldest, file = self._files.popitem(last=False)
            total -= sizes[oldest]
            file.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """See `WindowFormat.close`."""
        with self._lock:
            if self._duck is not None:
                self._duck.close()
                self._duck = None
            self._files.clear()
            self._scratch.remove()


# --- rows and columns ----------------------------------------------------------------------------


def _sorted(rows: WindowRows) -> WindowRows:
    """Rows by series and start, with the series sorted and only those that have rows."""
    order = sorted(range(len(rows.series)), key=rows.series.__getitem__)
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order))
    ranked = dataclasses.replace(
        rows,
        series=tuple(rows.series[place] for place in order),
        series_index=ranks[rows.series_index],
    )
    return take_rows(ranked, np.lexsort((ranked.starts_ns, ranked.series_index)))


def _columns_of(rows: WindowRows) -> dict[str, npt.NDArray[Any]]:
    offsets, keys, counts = rows.sketches
    bins = np.diff(offsets)
    steps = np.diff(keys, prepend=0).astype(np.int64)
    firsts = offsets[:-1][bins > 0]
    steps[firsts] = keys[firsts]
    kinds = np.array([int(key.kind) for key in rows.series], np.uint8)
    names = _texts([key.name for key in rows.series])
    tags = _texts([json.dumps(dict(key.tags)) for key in rows.series])
    return {
        "kind": kinds[rows.series_index],
        "name": names[rows.series_index],
        "tags": tags[rows.series_index],
        "series": rows.series_index,
        "start_ns": rows.starts_ns,
        "count": rows.counts,
        "sum": rows.sums,
        "min": rows.minima,
        "max": rows.maxima,
        "last": rows.last,
        "revision": rows.revisions,
        "flags": rows.flags,
        "bins": bins.astype(np.int32),
        "keys": encode_numbers(folded(steps), offsets),
        "counts": encode_numbers(counts, offsets),
    }


def _texts(texts: Sequence[str]) -> npt.NDArray[np.object_]:
    column = np.empty(len(texts), object)
    column[:] = texts
    return column


def _rows_of(found: dict[str, Any], width_ns: int, listed: _Listed) -> WindowRows:
    bins = _plain(found["bins"], np.int64)
    offsets = np.concatenate(([0], np.cumsum(bins)))
    steps = unfolded(decode_numbers(found["keys"], int(offsets[-1])))
    counts = decode_numbers(found["counts"], int(offsets[-1]))
    risen = np.cumsum(steps)
    firsts = offsets[:-1][bins > 0]
    before = np.where(firsts > 0, risen[firsts - 1], 0) if len(firsts) else firsts
    keys = risen - np.repeat(before, bins[bins > 0])
    places = np.searchsorted(listed.numbers, _plain(found["series"], np.int64))
    used, index = np.unique(places, return_inverse=True)
    return WindowRows(
        width_ns,
        tuple(listed.keys[place] for place in used.tolist()),
        index.astype(np.int32),
        _plain(found["start_ns"], np.int64),
        _plain(found["count"], np.int64),
        **{name: _plain(found[column], np.float64) for column, name in FLOATS},
        last=_plain(found["last"], np.float64),
        revisions=_plain(found["revision"], np.int32),
        flags=_plain(found["flags"], np.uint8),
        sketches=SketchColumns(offsets, keys.astype(np.int32), counts),
    )


def _plain(column: Any, dtype: Any) -> npt.NDArray[Any]:
    """A column without its mask; a NULL is a NaN."""
    if isinstance(column, np.ma.MaskedArray):
        column = column.filled(np.nan) if column.dtype.kind == "f" else column.filled(0)
    return np.asarray(column, dtype)


def _matching(listed: _Listed, matchers: Sequence[Matcher]) -> npt.NDArray[np.int64]:
    if not matchers:
        return listed.numbers
    chosen = [
        number
        for number, key in zip(listed.numbers.tolist(), listed.keys, strict=True)
        if all(matcher.accepts(key) for matcher in matchers)
    ]
    return np.array(chosen, np.int64)


def _series_condition(chosen: npt.NDArray[np.int64], count: int) -> str:
    if len(chosen) == count:
        return ""
    numbers = ",".join(map(str, chosen.tolist()))
    # The bounds are compared with the statistics of groups of rows.
    return f"AND series BETWEEN {chosen[0]} AND {chosen[-1]} AND series IN ({numbers})"


def _key(kind: int, name: str, tags: str) -> SeriesKey:
    return SeriesKey(MetricKind(kind), name, tuple(sorted(json.loads(tags).items())))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _target(path: Path, level: int) -> str:
    return (
        f"{_quoted(str(path))} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {level:d}, "
        f"ROW_GROUP_SIZE {GROUP_ROWS}, PARQUET_VERSION v2)"
    )


def _table(path: Path) -> str:
    return f"read_parquet({_quoted(str(path))})"


def _damaged(why: str) -> StoreDamaged:
    return StoreDamaged(
        f"a segment of windows cannot be read: {why.splitlines()[0][:300]}",
        advice="Restore its file from a backup.",
        may_have_run=False,
    )
