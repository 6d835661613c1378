"""One connection to PostgreSQL whose every wait has an end.

The server ends a statement that takes too long, or that waits too long for a lock. A server
that says nothing at all (its machine is gone, its processes are stopped) is given a little
longer than that; then this side ends the connection.
"""

import select
import time
from collections.abc import Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg import RawCursor

from callboard.messages.core.errors import SpecError

from .packed import register
from .place import Durability, Place, PostgresTimeouts

__all__ = ["StoreConnection", "Unanswered", "connect"]

ReturnT = TypeVar("ReturnT")

SERVER_OLDEST: Final = 130_000
"""PostgreSQL 13, as `server_version_num` tells it."""

SET_UP: Final = b"""
SELECT current_setting('server_version_num')::int,
       current_setting('server_encoding'),
       current_setting('fsync'),
       set_config('client_encoding', 'UTF8', false),
       set_config('statement_timeout', $1, false),
       set_config('lock_timeout', $2, false),
       set_config('idle_in_transaction_session_timeout', $1, false),
       set_config('plan_cache_mode', $3, false),
       set_config('synchronous_commit', CASE
         WHEN $4 <> 'full' THEN 'off'
         WHEN current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply'
         ELSE 'on' END, false)
"""


class Unanswered(Exception):
    """The server has said nothing for too long."""


class StoreConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection in autocommit: a statement is a transaction, unless one is begun."""

    silence_s: float = 60.0

    def wait(self, gen: Generator[Any, Any, ReturnT], *args: Any, **kwargs: Any) -> ReturnT:
        """Wait as psycopg does. Raises `Unanswered` after `silence_s`."""
        return super().wait(_bounded(gen, time.monotonic() + self.silence_s), *args, **kwargs)

    def rows(self, statement: bytes, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement, prepared on the server, and give its rows."""
        cursor = self.execute(statement, values, prepare=True, binary=True)
        return cursor.fetchall() if cursor.description else []

    @property
    def is_fresh(self) -> bool:
        """Whether an idle connection still stands, as far as can be told from here.

        The server has nothing to say to an idle client, but that it ends, or that its settings
        have changed: either way a new connection is what one wants.
        """
        if self.closed:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)


def _bounded(gen: Generator[Any, Any, ReturnT], deadline: float) -> Generator[Any, Any, ReturnT]:
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                gen.close()
                raise Unanswered
            wanted = gen.send(ready)
    except StopIteration as ended:
        result: ReturnT = ended.value
        return result


def connect(
    place: Place, timeouts: PostgresTimeouts, durability: Durability, *, plans: str = "auto"
) -> StoreConnection:
    """One attempt to connect; the session's settings are made and checked.

    Raises `psycopg.OperationalError` when there is no connection, and `SpecError` when the
    server cannot keep what a store promises.
    """
    connection = StoreConnection.connect(place.conninfo, autocommit=True, cursor_factory=RawCursor)
    try:
        connection.silence_s = timeouts.statement_s + timeouts.silence_s
        register(connection)
        statement_ms, lock_ms = (
            str(max(1, round(limit_s * 1_000)))
            for limit_s in (timeouts.statement_s, timeouts.lock_s)
        )
        cursor = connection.execute(SET_UP, (statement_ms, lock_ms, plans, durability))
        row = cursor.fetchone()
        assert row is not None
        _check(place, durability, version=row[0], encoding=row[1], fsync=row[2], commit=row[-1])
    except BaseException:
        connection.close()
        raise
    return connection


def _check(
    place: Place, durability: Durability, *, version: int, encoding: str, fsync: str, commit: str
) -> None:
    if version < SERVER_OLDEST:
        raise SpecError(
            f"{place.shown}: the server's version is {version // 10_000}.",
            advice=f"Callboard needs PostgreSQL {SERVER_OLDEST // 10_000} or newer.",
        )
    if encoding != "UTF8":
        raise SpecError(
            f"{place.shown}: the database's encoding is {encoding}, which cannot hold every text.",
            advice="Make the database by CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
        )
    if durability == "full" and (fsync != "on" or commit not in {"on", "remote_apply"}):
        raise SpecError(
            f"{place.shown}: the server does not write commits to its disk "
            f"(fsync is {fsync}, synchronous_commit is {commit}).",
            advice="Set fsync = on on the server, or say that durability `normal` is enough.",
        )
