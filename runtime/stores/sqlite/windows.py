"""The hot store of metric windows in an SQLite file; `window_blocks.py` says how it keeps them."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from callboard.actors.metrics.aggregation.packed import series_from, series_text
from callboard.actors.metrics.ports import Extent, ShardState
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, SeriesKey
from callboard.messages.storage.errors import StoreLocked, of_file

from ..file_lock import FileLock
from ..private import private_folder
from ..window_blocks import (
    Bands,
    Block,
    HotRange,
    SeriesTable,
    blocks_of,
    fenced_shard,
    hot_ranges,
    packed_block,
    part_bands,
    period_ns,
    read_blocks,
    read_series,
)
from .database import Database
from .faults import translate_errors

__all__ = ["SqliteMetricsStorage", "drop_windows", "stamp_windows"]

BLOCKS_AT_ONCE: Final = 64
LOCK_TRIES: Final = 100
"""For 1.5 seconds: the process before this one may be about to end."""
BANDS_NAMED_MAX: Final = 200
"""With more chosen bands than this, a query looks at all bands of its time."""
COLUMNS: Final = "width, period, shard, band, first_ns, until_ns, members"


class SqliteMetricsStorage:
    """A `MetricsStorage`. One object writes each shard; any number read, also of other processes.

    With `reads_only` the file must exist, and stays unchanged. With `alone` it opens only when no
    other object with `alone` has the file open: so two systems never fence each other's shards.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: str = "full",
        reads_only: bool = False,
        alone: bool = False,
    ) -> None:
        self.database: Final = Database(
            path, durability=durability, reads_only=reads_only, stays_small=True
        )
        self.name: Final = self.database.name
        # The journal's own lock has the plain name, and may be that of the same file.
        place = self.database.path.with_name(f"{self.database.path.name}.windows")
        self._lock = FileLock(place, tries=LOCK_TRIES) if alone else None
        self._table = SeriesTable()
        self._reading = threading.Lock()
        """Guards the table of series."""

    def open(self) -> None:
        """See `MetricsStorage.open`. With `alone` it raises `StoreLocked`, too."""
        if self._lock is not None:
            self._take(self._lock)
        try:
            self.database.open()
        except BaseException:
            self._release()
            raise

    def _take(self, lock: FileLock) -> None:
        try:
            private_folder(self.database.path.parent)
            is_free = lock.take()
        except OSError as error:
            raise of_file(self.name, error) from error
        if not is_free:
            raise StoreLocked(
                f"{self.name}: another system keeps its metrics in this file: process "
                f"{lock.owner()}, since {lock.since()}.",
                advice="Stop that system, or name another file by the setting `metrics`.",
                may_have_run=False,
            )

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def close(self) -> None:
        """See `MetricsStorage.close`."""
        self.database.close()
        self._release()

    # --- writing ------------------------------------------------------------------------------

    def claim(self, shard: int, fence: int) -> ShardState:
        """See `MetricsStorage.claim`."""
        with self.database.writing() as writer:
            _check_fence(self.name, writer, shard, fence)
            writer.execute(
                "INSERT INTO window_shards VALUES (?, ?, x'') "
                "ON CONFLICT (shard) DO UPDATE SET fence = excluded.fence",
                (shard, fence),
            )
            with self._reading:
                _read_series(self._table, writer)
            (state,) = writer.execute(
                "SELECT state FROM window_shards WHERE shard = ?", (shard,)
            ).fetchone()
            log = writer.execute(
                "SELECT data FROM window_log WHERE shard = ? ORDER BY id", (shard,)
            )
            return ShardState(state, tuple(row[0] for row in log))

    def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> None:
        """See `MetricsStorage.commit`."""
        size = self._table.size(shard)
        try:
            with self.database.writing() as writer:
                _check_fence(self.name, writer, shard, fence)
                if state is not None:
                    writer.execute(
                        "UPDATE window_shards SET state = ? WHERE shard = ?", (state, shard)
                    )
                    writer.execute("DELETE FROM window_log WHERE shard = ?", (shard,))
                elif log:
                    writer.execute(
                        "INSERT INTO window_log (shard, data) VALUES (?, ?)", (shard, log)
                    )
                for rows in windows:
                    self._write(writer, shard, rows)
        except BaseException:
            with self._reading:
                self._table.forget_after(shard, size)
            raise

    def _write(self, writer: sqlite3.Connection, shard: int, rows: WindowRows) -> None:
        table = self._table
        new = table.new_among(shard, rows.series)
        if new:
            first = table.size(shard)
            writer.executemany(
                "INSERT INTO window_series VALUES (?, ?, ?)",
                [(shard, number, series_text(key)) for number, key in enumerate(new, first)],
            )
            with self._reading:
                table.add(shard, new)
        _insert(writer, blocks_of(shard, rows, table.numbers_of(shard, rows.series)))

    def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """Pack blocks of the stretches that ended by `before_ns`; gives how many went.

        It stops after `blocks_max` blocks. Then it gives some free pages of the file back.
        """
        gone = 0
        for place in self._packable(shard, before_ns):
            if gone >= blocks_max:
                break
            with self.database.writing() as writer:
                found = writer.execute(
                    f"SELECT id, {COLUMNS}, data FROM window_blocks WHERE width = ? AND period = ? "  # noqa: S608 - names only
                    "AND shard = ? AND band = ? ORDER BY id",
                    place,
                ).fetchall()
                if len(found) > 1:
                    _delete(writer, [row[0] for row in found])
                    _insert(writer, [packed_block([Block._make(row[1:]) for row in found])])
                    gone += len(found) - 1
        self.database.shrink()
        return gone

    def _packable(self, shard: int, before_ns: int) -> list[tuple[int, int, int, int]]:
        rows = self.database.rows(
            "SELECT width, period, shard, band FROM window_blocks WHERE shard = ? "
            "GROUP BY width, period, shard, band HAVING count(*) > 1",
            (shard,),
        )
        return [row for row in rows if (row[1] + 1) * period_ns(row[0]) <= before_ns]

    # --- reading ------------------------------------------------------------------------------

    def shards(self) -> list[int]:
        """See `MetricsStorage.shards`."""
        return [row[0] for row in self.database.rows("SELECT shard FROM window_shards", ())]

    def extents(self) -> Mapping[int, Extent]:
        """See `MetricsStorage.extents`."""
        with self._snapshot() as reader:
            found = {}
            for width in _widths(reader):
                (first,) = reader.execute(
                    "SELECT min(first_ns) FROM window_blocks WHERE width = ? AND period = "
                    "(SELECT min(period) FROM window_blocks WHERE width = ?)",
                    (width, width),
                ).fetchone()
                (until,) = reader.execute(
                    "SELECT max(until_ns) FROM window_blocks WHERE width = ? AND period = "
                    "(SELECT max(period) FROM window_blocks WHERE width = ?)",
                    (width, width),
                ).fetchone()
                found[width] = Extent(first, until)
            return found

    def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `MetricsStorage.series`."""
        with self._snapshot() as reader:
            bands = self._matching(reader, matchers)

            def overlapping() -> Iterator[tuple[Block, bool]]:
                for width in _widths(reader):
                    for number, block in _listed(reader, bands, width, from_ns, to_ns):
                        is_inside = block.first_ns >= from_ns and block.until_ns <= to_ns
                        read = (
                            iter((block,)) if is_inside else _with_data(reader, [(number, block)])
                        )
                        yield next(read), is_inside

            return read_series(self._table, overlapping(), bands, from_ns, to_ns, limit)

    def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `MetricsStorage.windows`."""
        with self._snapshot() as reader:
            bands = self._matching(reader, matchers)
            listed = _listed(reader, bands, width_ns, from_ns, to_ns)
            blocks = _with_data(reader, listed)
            return read_blocks(self._table, blocks, bands, width_ns, from_ns, to_ns, limit)

    def closed_before(self, width_ns: int, before_ns: int) -> list[HotRange]:
        """The stretches of each shard that ended by `before_ns`, the oldest first."""
        rows = self.database.rows(
            "SELECT shard, period, count(*) FROM window_blocks WHERE width = ? AND period < ? "
            "GROUP BY period, shard ORDER BY period, shard",
            (width_ns, before_ns // period_ns(width_ns)),
        )
        return hot_ranges(width_ns, rows)

    def read_range(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int, *, bare: bool = False
    ) -> WindowRows:
        """See `HotWindows.read_range`."""
        return self._range(None, shard, width_ns, from_ns, to_ns, bare=bare)

    def read_parts(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int
    ) -> Iterator[WindowRows]:
        """See `HotWindows.read_parts`."""
        with self._snapshot() as reader, self._reading:
            _read_series(self._table, reader)
        for bands in part_bands(self._table, shard):
            rows = self._range(bands, shard, width_ns, from_ns, to_ns, bare=False)
            if len(rows):
                yield rows

    def _range(
        self,
        bands: Bands | None,
        shard: int,
        width_ns: int,
        from_ns: int,
        to_ns: int,
        *,
        bare: bool,
    ) -> WindowRows:
        with self._snapshot() as reader:
            with self._reading:
                _read_series(self._table, reader)
            found = _listed(reader, bands, width_ns, from_ns, to_ns, shard)
            blocks = _with_data(reader, found)
            return read_blocks(
                self._table, blocks, bands, width_ns, from_ns, to_ns, 2**62, bare=bare
            )

    def _matching(self, reader: sqlite3.Connection, matchers: Sequence[Matcher]) -> Bands:
        with self._reading:
            _read_series(self._table, reader)
            return self._table.matching(matchers)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """What was committed at one moment, for several queries."""
        with translate_errors(self.name), self.database.reading() as reader:
            reader.execute("BEGIN")
            try:
                yield reader
            finally:
                if reader.in_transaction:
                    reader.execute("COMMIT")


def stamp_windows(
    connection: sqlite3.Connection, shard: int, width_ns: int, from_ns: int, to_ns: int
) -> str:
    """A text that changes with each change of these stretches; empty when they have no windows."""
    period = period_ns(width_ns)
    count, newest = connection.execute(
        "SELECT count(*), max(id) FROM window_blocks "
        "WHERE width = ? AND period >= ? AND period < ? AND shard = ?",
        (width_ns, from_ns // period, to_ns // period, shard),
    ).fetchone()
    return f"{count}.{newest}" if count else ""


def drop_windows(
    writer: sqlite3.Connection, shard: int, width_ns: int, from_ns: int, to_ns: int
) -> int:
    """Delete whole stretches of a shard in the open transaction; gives the deleted blocks."""
    period = period_ns(width_ns)
    assert from_ns % period == 0
    assert to_ns % period == 0
    deleted = writer.execute(
        "DELETE FROM window_blocks WHERE width = ? AND period >= ? AND period < ? AND shard = ?",
        (width_ns, from_ns // period, to_ns // period, shard),
    )
    return deleted.rowcount


def _check_fence(name: str, writer: sqlite3.Connection, shard: int, fence: int) -> None:
    row = writer.execute("SELECT fence FROM window_shards WHERE shard = ?", (shard,)).fetchone()
    if row is not None and fence < row[0]:
        raise fenced_shard(name, shard, fence, row[0])


def _insert(writer: sqlite3.Connection, blocks: Iterator[Block] | list[Block]) -> None:
    writer.executemany(
        f"INSERT INTO window_blocks ({COLUMNS}, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names only
        blocks,
    )


def _delete(writer: sqlite3.Connection, numbers: list[int]) -> None:
    writer.executemany("DELETE FROM window_blocks WHERE id = ?", [(number,) for number in numbers])


def _widths(reader: sqlite3.Connection) -> list[int]:
    widths: list[int] = []
    while True:
        after = widths[-1] if widths else 0
        (width,) = reader.execute(
            "SELECT min(width) FROM window_blocks WHERE width > ?", (after,)
        ).fetchone()
        if width is None:
            return widths
        widths.append(width)


def _read_series(table: SeriesTable, reader: sqlite3.Connection) -> None:
    """Read the series that are new since the last time."""
    for (shard,) in reader.execute("SELECT shard FROM window_shards").fetchall():
        rows = reader.execute(
            "SELECT name FROM window_series WHERE shard = ? AND number >= ? ORDER BY number",
            (shard, table.size(shard)),
        )
        table.add(shard, [series_from(row[0]) for row in rows])


def _listed(
    reader: sqlite3.Connection,
    bands: Bands | None,
    width_ns: int,
    from_ns: int,
    to_ns: int,
    shard: int | None = None,
) -> list[tuple[int, Block]]:
    """The blocks that have windows of chosen series in this time, without their data."""
    period = period_ns(width_ns)
    where = "width = ? AND period BETWEEN ? AND ? AND first_ns < ? AND until_ns > ?"
    values: list[Any] = [width_ns, (from_ns - width_ns) // period, to_ns // period, to_ns, from_ns]
    if shard is not None:
        where += " AND shard = ?"
        values.append(shard)
    if bands is not None and len(bands.wanted) <= BANDS_NAMED_MAX:
        if not bands.wanted:
            return []
        where += f" AND (shard, band) IN (VALUES {','.join(['(?, ?)'] * len(bands.wanted))})"
        values += [part for place in bands.wanted for part in place]
    rows = reader.execute(
        f"SELECT id, {COLUMNS} FROM window_blocks WHERE {where} ORDER BY id",  # noqa: S608 - names and marks only
        values,
    )
    found = ((row[0], Block._make((*row[1:], b""))) for row in rows)
    if bands is None:
        return list(found)
    masks = {place: bands.mask(*place) for place in bands.wanted}
    return [
        (number, block)
        for number, block in found
        if block.members & masks.get((block.shard, block.band), 0)
    ]


def _with_data(reader: sqlite3.Connection, listed: Sequence[tuple[int, Block]]) -> Iterator[Block]:
    """The blocks with their data, a few at a time."""
    for begin in range(0, len(listed), BLOCKS_AT_ONCE):
        some = listed[begin : begin + BLOCKS_AT_ONCE]
        marks = ",".join("?" * len(some))
        data = dict(
            reader.execute(
                f"SELECT id, data FROM window_blocks WHERE id IN ({marks})",  # noqa: S608 - marks only
                [number for number, _ in some],
            ).fetchall()
        )
        for number, block in some:
            yield block._replace(data=data[number])
