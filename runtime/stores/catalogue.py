"""The catalogue in SQL: what every database of it has in common.

The statements are PostgreSQL's, without what SQLite does not know but for the casts, which
`sqlite/catalogue.py` takes out. Each write is one transaction, which checks the fencing token by
changing the owner's row: so two writers take turns. Each can be repeated without a second effect.
"""

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from callboard.actors.storage.core import conflict
from callboard.actors.storage.hot import HotRows
from callboard.actors.storage.moves import Move, MoveState, move_from_text, move_to_text
from callboard.actors.storage.segments import (
    TIME_MAX_NS,
    TIME_MIN_NS,
    Block,
    Segment,
    SegmentState,
)
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import StoreDamaged, WriterFenced

__all__ = ["CATALOGUE_TABLES", "SqlCatalogue", "Transaction"]

ReturnT = TypeVar("ReturnT")
OWNER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
STATES: Final = frozenset(state.value for state in SegmentState)
CLOSED_MOVES_KEPT: Final = 1_000
"""Moves that have ended, for people to see."""

CATALOGUE_TABLES: Final = (
    """CREATE TABLE {s}catalogue_owners (
        owner text PRIMARY KEY, fence bigint NOT NULL, last_move bigint NOT NULL)""",
    """CREATE TABLE {s}segments (
        name text PRIMARY KEY, owner text NOT NULL, dataset text NOT NULL, part bigint NOT NULL,
        from_ns bigint NOT NULL, to_ns bigint NOT NULL, row_count bigint NOT NULL,
        size_bytes bigint NOT NULL, location text NOT NULL, digest text NOT NULL,
        state text NOT NULL)""",
    "CREATE INDEX segments_by_time ON {s}segments (dataset, to_ns)",
    """CREATE TABLE {s}moves (
        owner text NOT NULL, number bigint NOT NULL, is_open bigint NOT NULL, data text NOT NULL,
        PRIMARY KEY (owner, number))""",
    """CREATE TABLE {s}suspects (
        owner text NOT NULL, location text NOT NULL, name text NOT NULL,
        since double precision NOT NULL, PRIMARY KEY (owner, location, name))""",
)
"""The tables; `{s}` is the schema and its dot, or nothing."""

SEGMENT: Final = (
    "name, digest, dataset, part, from_ns, to_ns, row_count, size_bytes, location, state"
)


class Transaction(NamedTuple):
    """An open transaction: runs a statement and gives its rows, and the database's connection."""

    rows: Callable[..., Sequence[Sequence[Any]]]
    connection: Any


class SqlCatalogue(abc.ABC):
    """A `Catalogue` on a database that runs statements."""

    def __init__(self, owner: str, hot: HotRows | None) -> None:
        """`hot` are the hot rows in the same database, if there are some."""
        if not OWNER.fullmatch(owner):
            raise SpecError(
                f"{owner!r} cannot own a catalogue.",
                advice="Use small letters, digits, '_' and '-'; at most 63 characters.",
            )
        self.owner: Final = owner
        self._hot = hot

    name: str

    @abc.abstractmethod
    def _read(self, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        """Read in one transaction."""

    @abc.abstractmethod
    def _write(self, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        """Write in one transaction; an exception undoes it."""

    def _fenced(self, fence: int, action: Callable[[Transaction], ReturnT]) -> ReturnT:
        def check_first(transaction: Transaction) -> ReturnT:
            self._check(transaction, fence)
            return action(transaction)

        return self._write(check_first)

    def _check(self, transaction: Transaction, fence: int) -> None:
        transaction.rows(
            "INSERT INTO {s}catalogue_owners (owner, fence, last_move) VALUES ($1::text, 0, 0) "
            "ON CONFLICT (owner) DO NOTHING",
            self.owner,
        )
        changed = transaction.rows(
            "UPDATE {s}catalogue_owners SET fence = $2::bigint "
            "WHERE owner = $1::text AND fence <= $2::bigint RETURNING fence",
            self.owner,
            fence,
        )
        if not changed:
            raise WriterFenced(
                f"{self.name}: a newer process moves the segments of {self.owner}; this one has "
                f"the fencing token {fence}.",
                advice="A newer process has taken over, and this one ends.",
                may_have_run=False,
            )

    # --- reading ---------------------------------------------------------------------------------

    def segments(
        self, dataset: str, from_ns: int = TIME_MIN_NS, to_ns: int = TIME_MAX_NS
    ) -> list[Segment]:
        """See `Catalogue.segments`."""
        return self._segments(
            "dataset = $1::text AND to_ns > $2::bigint AND from_ns < $3::bigint "
            "AND state <> 'retired'",
            dataset,
            from_ns,
            to_ns,
        )

    def all_segments(self) -> list[Segment]:
        """See `Catalogue.all_segments`."""
        return self._segments("owner = $1::text", self.owner)

    def _segments(self, condition: str, *values: Any) -> list[Segment]:
        rows = self._read(
            lambda transaction: transaction.rows(
                f"SELECT {SEGMENT} FROM {{s}}segments WHERE {condition} "  # noqa: S608 - our own words
                "ORDER BY from_ns, to_ns, name",
                *values,
            )
        )
        return [_segment(row) for row in rows]

    def find(self, names: Sequence[str]) -> list[Segment]:
        """See `Catalogue.find`."""
        return self._read(lambda transaction: _find(transaction, names))

    def open_moves(self) -> list[Move]:
        """See `Catalogue.open_moves`."""
        return self._read(self._open_moves)

    def _open_moves(self, transaction: Transaction) -> list[Move]:
        rows = transaction.rows(
            "SELECT data FROM {s}moves WHERE owner = $1::text AND is_open = 1 ORDER BY number",
            self.owner,
        )
        return [move_from_text(row[0]) for row in rows]

    def moves(self, limit: int = 100) -> list[Move]:
        """The newest moves, open and ended, the newest first."""
        rows = self._read(
            lambda transaction: transaction.rows(
                "SELECT data FROM {s}moves WHERE owner = $1::text "
                "ORDER BY number DESC LIMIT $2::bigint",
                self.owner,
                limit,
            )
        )
        return [move_from_text(row[0]) for row in rows]

    def stamp(self, block: Block) -> str:
        """See `Catalogue.stamp`."""
        return self._read(lambda transaction: self._stamp(transaction, block))

    def _stamp(self, transaction: Transaction, block: Block) -> str:
        return "" if self._hot is None else self._hot.stamp(transaction.connection, block)

    def last_move(self) -> int:
        """See `Catalogue.last_move`."""
        return self._read(self._last_move)

    def _last_move(self, transaction: Transaction) -> int:
        rows = transaction.rows(
            "SELECT last_move FROM {s}catalogue_owners WHERE owner = $1::text", self.owner
        )
        return int(rows[0][0]) if rows else 0

    def suspects(self, location: str) -> Mapping[str, float]:
        """See `Catalogue.suspects`."""
        rows = self._read(
            lambda transaction: transaction.rows(
                "SELECT name, since FROM {s}suspects "
                "WHERE owner = $1::text AND location = $2::text",
                self.owner,
                location,
            )
        )
        return {row[0]: float(row[1]) for row in rows}

    # --- writing ---------------------------------------------------------------------------------

    def claim(self, fence: int) -> None:
        """See `Catalogue.claim`."""
        self._fenced(fence, lambda _: None)

    def plan(self, fence: int, moves: Sequence[Move]) -> list[Move]:
        """See `Catalogue.plan`."""

        def plan(transaction: Transaction) -> list[Move]:
            under_way = self._open_moves(transaction)
            number = self._last_move(transaction)
            planned: list[Move] = []
            for move in moves:
                if any(conflict(move, other) for other in under_way):
                    continue
                number += 1
                numbered = dataclasses.replace(move, number=number)
                under_way.append(numbered)
                planned.append(numbered)
                transaction.rows(
                    "INSERT INTO {s}moves (owner, number, is_open, data) "
                    "VALUES ($1::text, $2::bigint, 1, $3::text)",
                    self.owner,
                    number,
                    move_to_text(numbered),
                )
            transaction.rows(
                "UPDATE {s}catalogue_owners SET last_move = $2::bigint WHERE owner = $1::text",
                self.owner,
                number,
            )
            return planned

        return self._fenced(fence, plan)

    def advance(self, fence: int, move: Move) -> None:
        """See `Catalogue.advance`."""
        assert move.state not in (MoveState.SWITCHED, MoveState.DELETED)

        def advance(transaction: Transaction) -> None:
            stored = self._stored(transaction, move.number)
            if stored is None or stored.state is MoveState.SWITCHED:
                raise self._performed_elsewhere(move)
            self._store(transaction, move)

        self._fenced(fence, advance)

    def switch(self, fence: int, move: Move) -> Move | None:
        """See `Catalogue.switch`."""
        assert move.state is MoveState.SWITCHED

        def switch(transaction: Transaction) -> Move | None:
            stored = self._stored(transaction, move.number)
            if stored is not None and stored.state is MoveState.SWITCHED:
                return stored  # The answer of an earlier try was lost.
            if stored is None or stored.state is not MoveState.VERIFIED:
                raise self._performed_elsewhere(move)
            if not self._take_sources(transaction, move):
                return None
            if move.target is not None:
                self._insert(transaction, move.target)
            self._store(transaction, move)
            return move

        return self._fenced(fence, switch)

    def _take_sources(self, transaction: Transaction, move: Move) -> bool:
        if not move.sources:
            hot, connection = self._hot, transaction.connection
            return hot is not None and hot.delete(connection, move.block, move.stamp)
        found = _find(transaction, move.sources)
        live = [each for each in found if each.state is SegmentState.LIVE]
        if len(live) != len(move.sources):
            return False
        for name in move.sources:
            transaction.rows("UPDATE {s}segments SET state = 'retired' WHERE name = $1::text", name)
        return True

    def _insert(self, transaction: Transaction, segment: Segment) -> None:
        transaction.rows(
            f"INSERT INTO {{s}}segments (owner, {SEGMENT}) VALUES ($1::text, $2::text, $3::text, "  # noqa: S608 - our own words
            "$4::text, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::bigint, $10::text, "
            "$11::text)",
            self.owner,
            segment.name,
            segment.digest,
            *segment.block,
            segment.rows,
            segment.size_bytes,
            segment.location,
            segment.state.value,
        )

    def finish(self, fence: int, move: Move) -> None:
        """See `Catalogue.finish`."""
        assert move.state is MoveState.DELETED

        def finish(transaction: Transaction) -> None:
            for name in move.sources:
                transaction.rows(
                    "DELETE FROM {s}segments WHERE name = $1::text AND state = 'retired'", name
                )
            self._store(transaction, move)
            transaction.rows(
                "DELETE FROM {s}moves WHERE owner = $1::text AND is_open = 0 "
                "AND number <= $2::bigint",
                self.owner,
                move.number - CLOSED_MOVES_KEPT,
            )

        self._fenced(fence, finish)

    def mark(self, fence: int, name: str, state: SegmentState) -> None:
        """See `Catalogue.mark`."""
        assert state is not SegmentState.RETIRED
        self._fenced(
            fence,
            lambda transaction: transaction.rows(
                "UPDATE {s}segments SET state = $2::text "
                "WHERE name = $1::text AND state <> 'retired'",
                name,
                state.value,
            ),
        )

    def suspect(self, fence: int, location: str, suspects: Mapping[str, float]) -> None:
        """See `Catalogue.suspect`."""

        def suspect(transaction: Transaction) -> None:
            transaction.rows(
                "DELETE FROM {s}suspects WHERE owner = $1::text AND location = $2::text",
                self.owner,
                location,
            )
            for name, since in sorted(suspects.items()):
                transaction.rows(
                    "INSERT INTO {s}suspects (owner, location, name, since) "
                    "VALUES ($1::text, $2::text, $3::text, $4::float8)",
                    self.owner,
                    location,
                    name,
                    since,
                )

        self._fenced(fence, suspect)

    # --- moves -----------------------------------------------------------------------------------

    def _stored(self, transaction: Transaction, number: int) -> Move | None:
        rows = transaction.rows(
            "SELECT data FROM {s}moves "
            "WHERE owner = $1::text AND number = $2::bigint AND is_open = 1",
            self.owner,
            number,
        )
        return move_from_text(rows[0][0]) if rows else None

    def _store(self, transaction: Transaction, move: Move) -> None:
        transaction.rows(
            "UPDATE {s}moves SET is_open = $3::bigint, data = $4::text "
            "WHERE owner = $1::text AND number = $2::bigint",
            self.owner,
            move.number,
            int(move.state.is_open),
            move_to_text(move),
        )

    def _performed_elsewhere(self, move: Move) -> WriterFenced:
        return WriterFenced(
            f"{self.name}: another process performs the move {move.number} of {move.block}.",
            advice="Let one process at a time move the segments of an owner.",
            may_have_run=False,
        )


def _find(transaction: Transaction, names: Sequence[str]) -> list[Segment]:
    found = []
    for name in names:
        rows = transaction.rows(
            f"SELECT {SEGMENT} FROM {{s}}segments WHERE name = $1::text",  # noqa: S608 - our own words
            name,
        )
        found += [_segment(row) for row in rows]
    return found


def _segment(row: Sequence[Any]) -> Segment:
    name, digest, dataset, part, from_ns, to_ns, rows, size_bytes, location, state = row
    if state not in STATES:
        raise StoreDamaged(
            f"the catalogue has a segment {name} in the unknown state {state!r}.",
            advice="Use the release that wrote it, or restore a backup.",
            may_have_run=False,
        )
    block = Block(dataset, int(part), int(from_ns), int(to_ns))
    return Segment(name, digest, block, int(rows), int(size_bytes), location, SegmentState(state))
