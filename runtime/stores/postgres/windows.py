"""The hot store of metric windows in PostgreSQL; `window_blocks.py` says how it keeps them."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeVar

from callboard.actors.metrics.aggregation.packed import series_from, series_text
from callboard.actors.metrics.ports import Extent, ShardState
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.metrics.series import Matcher, SeriesKey

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
from .connection import StoreConnection
from .packed import big_integers, blobs, integers, texts
from .place import Durability, PostgresTimeouts
from .row_store import RowStore
from .tables import check_tables, statement

__all__ = ["PostgresMetricsStorage", "drop_windows", "stamp_windows"]

ReturnT = TypeVar("ReturnT")
BLOCKS_AT_ONCE: Final = 64
SNAPSHOT: Final = b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
DROP: Final = (
    "DELETE FROM {s}.window_blocks "
    "WHERE width = $1 AND period >= $2 AND period < $3 AND shard = $4 RETURNING 1"
)
STAMP: Final = (
    "SELECT count(*), max(id) FROM {s}.window_blocks "
    "WHERE width = $1 AND period >= $2 AND period < $3 AND shard = $4"
)


class PostgresMetricsStorage(RowStore):
    """A `MetricsStorage`. One object writes each shard; any number read, also of other processes.

    With `reads_only` the tables must exist, and stay unchanged.
    """

    WORDS: ClassVar[Mapping[str, str]] = {
        "fence": "SELECT fence FROM {s}.window_shards WHERE shard = $1 FOR UPDATE",
        "claim": (
            "INSERT INTO {s}.window_shards AS old (shard, fence, state) "
            "VALUES ($1, $2, ''::bytea) ON CONFLICT (shard) DO UPDATE SET fence = excluded.fence "
            "WHERE old.fence <= excluded.fence RETURNING state"
        ),
        "owner": "SELECT fence FROM {s}.window_shards WHERE shard = $1",
        "log": "SELECT data FROM {s}.window_log WHERE shard = $1 ORDER BY id",
        "add_log": "INSERT INTO {s}.window_log (shard, data) VALUES ($1, $2)",
        "drop_log": "DELETE FROM {s}.window_log WHERE shard = $1",
        "state": "UPDATE {s}.window_shards SET state = $2 WHERE shard = $1",
        "shards": "SELECT shard FROM {s}.window_shards",
        "series": (
            "SELECT name FROM {s}.window_series WHERE shard = $1 AND number >= $2 ORDER BY number"
        ),
        "add_series": (
            "INSERT INTO {s}.window_series (shard, number, name) SELECT $1::int, n.number, n.name "
            "FROM unnest($2::int[], $3::text[]) AS n (number, name)"
        ),
        "add_blocks": (
            "INSERT INTO {s}.window_blocks "
            "(width, period, shard, band, first_ns, until_ns, members, data) "
            "SELECT n.* FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::int[], "
            "$5::bigint[], $6::bigint[], $7::int[], $8::bytea[]) AS n"
        ),
        "widths": "SELECT DISTINCT width FROM {s}.window_blocks ORDER BY width",
        "extents": (
            "SELECT width, min(first_ns), max(until_ns) FROM {s}.window_blocks GROUP BY width"
        ),
        "listed": (
            "SELECT id, width, period, shard, band, first_ns, until_ns, members "
            "FROM {s}.window_blocks WHERE width = $1 "
            "AND period BETWEEN $2 AND $3 AND first_ns < $4 AND until_ns > $5 "
            "AND ($6::int IS NULL OR shard = $6) "
            "AND ($7::int[] IS NULL OR "
            "(shard, band) IN (SELECT * FROM unnest($7::int[], $8::int[]))) ORDER BY id"
        ),
        "data": "SELECT id, data FROM {s}.window_blocks WHERE id = ANY ($1::bigint[])",
        "packable": (
            "SELECT width, period, shard, band FROM {s}.window_blocks WHERE shard = $1 "
            "GROUP BY width, period, shard, band HAVING count(*) > 1"
        ),
        "take": (
            "WITH gone AS (DELETE FROM {s}.window_blocks WHERE width = $1 AND period = $2 "
            "AND shard = $3 AND band = $4 RETURNING *) "
            "SELECT width, period, shard, band, first_ns, until_ns, members, data "
            "FROM gone ORDER BY id"
        ),
        "closed": (
            "SELECT shard, period, count(*) FROM {s}.window_blocks "
            "WHERE width = $1 AND period < $2 GROUP BY period, shard ORDER BY period, shard"
        ),
    }

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "full",
        timeouts: PostgresTimeouts | None = None,
        reads_only: bool = False,
    ) -> None:
        super().__init__(url, durability=durability, timeouts=timeouts)
        self._reads_only = reads_only
        self._table = SeriesTable()
        self._lock = threading.Lock()
        """Guards the table of series."""

    def open(self) -> None:
        """See `MetricsStorage.open`."""
        if self._reads_only:
            self.connections.open_for(check_tables)
        else:
            super().open()

    # --- writing ------------------------------------------------------------------------------

    def claim(self, shard: int, fence: int) -> ShardState:
        """See `MetricsStorage.claim`."""

        def claim(connection: StoreConnection) -> ShardState:
            with connection.transaction():
                rows = connection.rows(self.sql["claim"], shard, fence)
                if not rows:
                    ((newest,),) = connection.rows(self.sql["owner"], shard)
                    raise fenced_shard(self.name, shard, fence, newest)
                with self._lock:
                    self._read_series(connection)
                log = connection.rows(self.sql["log"], shard)
                return ShardState(rows[0][0], tuple(row[0] for row in log))

        return self.connections.run(claim, "claiming a shard of metrics")

    def commit(
        self,
        shard: int,
        fence: int,
        *,
        log: bytes = b"",
        state: bytes | None = None,
        windows: Sequence[WindowRows] = (),
    ) -> None:
        """See `MetricsStorage.commit`.

        Raises `CommitUnknown` when the connection breaks meanwhile: claim the shard again then.
        """

        def commit(connection: StoreConnection) -> None:
            with connection.transaction():
                self._check_fence(connection, shard, fence)
                if state is not None:
                    connection.rows(self.sql["state"], shard, state)
                    connection.rows(self.sql["drop_log"], shard)
                elif log:
                    connection.rows(self.sql["add_log"], shard, log)
                for rows in windows:
                    self._write(connection, shard, rows)

        size = self._table.size(shard)
        try:
            self.connections.run(commit, "storing windows", repeatable=False)
        except BaseException:
            with self._lock:
                self._table.forget_after(shard, size)
            raise

    def _check_fence(self, connection: StoreConnection, shard: int, fence: int) -> None:
        rows = connection.rows(self.sql["fence"], shard)
        if rows and fence < rows[0][0]:
            raise fenced_shard(self.name, shard, fence, rows[0][0])

    def _write(self, connection: StoreConnection, shard: int, rows: WindowRows) -> None:
        table = self._table
        new = table.new_among(shard, rows.series)
        if new:
            first = table.size(shard)
            numbers = integers(range(first, first + len(new)))
            connection.rows(self.sql["add_series"], shard, numbers, texts(map(series_text, new)))
            with self._lock:
                table.add(shard, new)
        self._insert(connection, blocks_of(shard, rows, table.numbers_of(shard, rows.series)))

    def _insert(self, connection: StoreConnection, blocks: Iterable[Block]) -> None:
        found = list(blocks)
        if not found:
            return
        width, period, shard, band, first, until, members, data = zip(*found, strict=True)
        connection.rows(
            self.sql["add_blocks"],
            big_integers(width),
            big_integers(period),
            integers(shard),
            integers(band),
            big_integers(first),
            big_integers(until),
            integers(members),
            blobs(data),
        )

    def pack(self, shard: int, before_ns: int, blocks_max: int) -> int:
        """Pack blocks of the stretches that ended by `before_ns`; gives how many went.

        It stops after `blocks_max` blocks.
        """
        gone = 0
        for place in self._run("packable", shard):
            width, period = place[:2]
            if gone >= blocks_max:
                break
            if (period + 1) * period_ns(width) > before_ns:
                continue

            def pack(connection: StoreConnection, place: tuple[Any, ...] = place) -> int:
                with connection.transaction():
                    found = [Block._make(row) for row in connection.rows(self.sql["take"], *place)]
                    if found:
                        self._insert(connection, [packed_block(found)])
                    return len(found) - 1

            gone += self.connections.run(pack, "packing windows")
        return gone

    # --- reading ------------------------------------------------------------------------------

    def shards(self) -> list[int]:
        """See `MetricsStorage.shards`."""
        return [row[0] for row in self._run("shards")]

    def extents(self) -> Mapping[int, Extent]:
        """See `MetricsStorage.extents`."""
        return {width: Extent(first, until) for width, first, until in self._run("extents")}

    def series(
        self, matchers: Sequence[Matcher], from_ns: int, to_ns: int, limit: int
    ) -> tuple[SeriesKey, ...]:
        """See `MetricsStorage.series`."""

        def read(connection: StoreConnection) -> tuple[SeriesKey, ...]:
            bands = self._matching(connection, matchers)

            def overlapping() -> Iterator[tuple[Block, bool]]:
                for (width,) in connection.rows(self.sql["widths"]):
                    for number, block in self._listed(connection, bands, width, from_ns, to_ns):
                        is_inside = block.first_ns >= from_ns and block.until_ns <= to_ns
                        read = (
                            iter((block,))
                            if is_inside
                            else self._with_data(connection, [(number, block)])
                        )
                        yield next(read), is_inside

            return read_series(self._table, overlapping(), bands, from_ns, to_ns, limit)

        return self._snapshot(read)

    def windows(
        self, matchers: Sequence[Matcher], width_ns: int, from_ns: int, to_ns: int, limit: int
    ) -> WindowRows:
        """See `MetricsStorage.windows`."""

        def read(connection: StoreConnection) -> WindowRows:
            bands = self._matching(connection, matchers)
            listed = self._listed(connection, bands, width_ns, from_ns, to_ns)
            blocks = self._with_data(connection, listed)
            return read_blocks(self._table, blocks, bands, width_ns, from_ns, to_ns, limit)

        return self._snapshot(read)

    def closed_before(self, width_ns: int, before_ns: int) -> list[HotRange]:
        """The stretches of each shard that ended by `before_ns`, the oldest first."""
        rows = self._run("closed", width_ns, before_ns // period_ns(width_ns))
        return hot_ranges(width_ns, ((shard, period, count) for shard, period, count in rows))

    def read_range(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int, *, bare: bool = False
    ) -> WindowRows:
        """See `HotWindows.read_range`."""
        return self._range(None, shard, width_ns, from_ns, to_ns, bare=bare)

    def read_parts(
        self, shard: int, width_ns: int, from_ns: int, to_ns: int
    ) -> Iterator[WindowRows]:
        """See `HotWindows.read_parts`."""
        self._snapshot(lambda connection: self._matching(connection, ()))
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
        def read(connection: StoreConnection) -> WindowRows:
            self._matching(connection, ())
            listed = self._listed(connection, bands, width_ns, from_ns, to_ns, shard)
            blocks = self._with_data(connection, listed)
            return read_blocks(
                self._table, blocks, bands, width_ns, from_ns, to_ns, 2**62, bare=bare
            )

        return self._snapshot(read)

    def _run(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connections.run(
            lambda connection: connection.rows(self.sql[name], *values), "reading windows"
        )

    def _snapshot(self, read: Callable[[StoreConnection], ReturnT]) -> ReturnT:
        """Run several queries on what was committed at one moment."""

        def run(connection: StoreConnection) -> ReturnT:
            with connection.transaction():
                connection.execute(SNAPSHOT)
                return read(connection)

        return self.connections.run(run, "reading windows")

    def _matching(self, connection: StoreConnection, matchers: Sequence[Matcher]) -> Bands:
        with self._lock:
            self._read_series(connection)
            return self._table.matching(matchers)

    def _read_series(self, connection: StoreConnection) -> None:
        table = self._table
        for (shard,) in connection.rows(self.sql["shards"]):
            rows = connection.rows(self.sql["series"], shard, table.size(shard))
            table.add(shard, [series_from(row[0]) for row in rows])

    def _listed(
        self,
        connection: StoreConnection,
        bands: Bands | None,
        width_ns: int,
        from_ns: int,
        to_ns: int,
        shard: int | None = None,
    ) -> list[tuple[int, Block]]:
        """The blocks that have windows of chosen series in this time, without their data."""
        period = period_ns(width_ns)
        places = None if bands is None else list(bands.wanted)
        if places == []:
            return []
        rows = connection.rows(
            self.sql["listed"],
            width_ns,
            (from_ns - width_ns) // period,
            to_ns // period,
            to_ns,
            from_ns,
            shard,
            None if places is None else integers([place[0] for place in places]),
            None if places is None else integers([place[1] for place in places]),
        )
        found = ((row[0], Block._make((*row[1:], b""))) for row in rows)
        if bands is None:
            return list(found)
        masks = {place: bands.mask(*place) for place in bands.wanted}
        return [
            (number, block)
            for number, block in found
            if block.members & masks[block.shard, block.band]
        ]

    def _with_data(
        self, connection: StoreConnection, listed: Sequence[tuple[int, Block]]
    ) -> Iterator[Block]:
        """The blocks with their data, a few at a time."""
        for begin in range(0, len(listed), BLOCKS_AT_ONCE):
            some = listed[begin : begin + BLOCKS_AT_ONCE]
            numbers = big_integers([number for number, _ in some])
            data = dict(connection.rows(self.sql["data"], numbers))
            for number, block in some:
                yield block._replace(data=data[number])


def stamp_windows(
    connection: StoreConnection, schema: str, shard: int, width_ns: int, from_ns: int, to_ns: int
) -> str:
    """A text that changes with each change of these stretches; empty when they have no windows."""
    period = period_ns(width_ns)
    ((count, newest),) = connection.rows(
        statement(STAMP, schema), width_ns, from_ns // period, to_ns // period, shard
    )
    return f"{count}.{newest}" if count else ""


def drop_windows(
    connection: StoreConnection, schema: str, shard: int, width_ns: int, from_ns: int, to_ns: int
) -> int:
    """Delete whole stretches of a shard in the open transaction; gives the deleted blocks."""
    period = period_ns(width_ns)
    assert from_ns % period == 0
    assert to_ns % period == 0
    rows = connection.rows(
        statement(DROP, schema), width_ns, from_ns // period, to_ns // period, shard
    )
    return len(rows)
