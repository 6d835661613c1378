"""One connection to PostgreSQL, on which every wait has a limit.

The server ends a statement that takes too long, or that waits too long for a lock. If the server
sends nothing at all (its machine is gone, its processes are stopped), this side waits a little
longer than that, and then closes the connection.
"""

import select
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self, TypeVar

import psycopg
from psycopg import RawCursor

from callboard.messages.core.errors import CallboardError, SpecError

from .faults import cannot_connect, is_permanent
from .packed import register
from .place import Durability, Place, PostgresTimeouts

__all__ = ["Session", "StoreConnection"]

ReturnT = TypeVar("ReturnT")

SERVER_OLDEST: Final = 130_000
"""PostgreSQL 13, in the form of `server_version_num`."""

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


class Unanswered(psycopg.OperationalError):
    """The server has sent nothing for too long."""


class Failure(NamedTuple):
    """The error of an attempt to connect."""

    error: CallboardError
    is_permanent: bool
    """Whether another attempt would fail too."""


@dataclass(slots=True)
class Session:
    """The settings of all connections of a pool, and the last attempt's failure."""

    place: Place
    timeouts: PostgresTimeouts
    durability: Durability
    plans: str
    failure: Failure | None = None
    """None once an attempt has given a connection. Any thread may read it."""


class StoreConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection in autocommit: each statement is a transaction, unless one is open."""

    silence_s: float = 60.0

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """Try once to connect, with the settings of the `session` among `kwargs`.

        Raises `psycopg.OperationalError` without a connection, and `SpecError` when the server
        cannot keep the promises of a store. The session records the failure.
        """
        session: Session = kwargs.pop("session")
        connection = None
        try:
            connection = super().connect(
                conninfo, autocommit=True, cursor_factory=RawCursor, **kwargs
            )
            _set_up(connection, session)
        except (psycopg.Error, SpecError) as error:
            if connection is not None:
                connection.close()
            session.failure = _failure(error, session.place.shown)
            raise
        session.failure = None
        return connection

    def wait(self, gen: Generator[Any, Any, ReturnT], *args: Any, **kwargs: Any) -> ReturnT:
        """Wait as psycopg does. Raises `Unanswered` after `silence_s` without data."""
        return super().wait(_bounded(gen, self.silence_s), *args, **kwargs)

    def rows(self, statement: bytes, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement, prepared on the server, and return its rows."""
        cursor = self.execute(statement, values, prepare=True, binary=True)
        return cursor.fetchall() if cursor.description else []

    @property
    def is_fresh(self) -> bool:
        """Whether an idle connection still works, as far as this side knows.

        To an idle client the server only sends that it ends, or that its settings have changed. In
        both cases a new connection is better.
        """
        if self.closed:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)


def _bounded(gen: Generator[Any, Any, ReturnT], limit_s: float) -> Generator[Any, Any, ReturnT]:
    deadline = time.monotonic() + limit_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                gen.close()
                raise Unanswered(f"the server has sent nothing for {limit_s} s")
            wanted = gen.send(ready)
    except StopIteration as ended:
        result: ReturnT = ended.value
        return result


def _failure(error: psycopg.Error | SpecError, name: str) -> Failure:
    if isinstance(error, SpecError):
        return Failure(error, is_permanent=True)
    return Failure(cannot_connect(error, name=name), is_permanent(error))


def _set_up(connection: StoreConnection, session: Session) -> None:
    timeouts, place, durability = session.timeouts, session.place, session.durability
    connection.silence_s = timeouts.connect_s
    register(connection)
    statement_ms, lock_ms = (
        str(max(1, round(limit_s * 1_000))) for limit_s in (timeouts.statement_s, timeouts.lock_s)
    )
    cursor = connection.execute(SET_UP, (statement_ms, lock_ms, session.plans, durability))
    row = cursor.fetchone()
    assert row is not None
    version, encoding, fsync, *_, commit = row
    if version < SERVER_OLDEST:
        raise SpecError(
            f"{place.shown}: the server's version is {version // 10_000}.",
            advice=f"Callboard needs PostgreSQL {SERVER_OLDEST // 10_000} or newer.",
        )
    if encoding != "UTF8":
        raise SpecError(
            f"{place.shown}: the database's encoding is {encoding}, which cannot hold every text.",
            advice="Create the database by CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
        )
    if durability == "full" and (fsync != "on" or commit not in {"on", "remote_apply"}):
        raise SpecError(
            f"{place.shown}: the server does not write commits to its disk "
            f"(fsync is {fsync}, synchronous_commit is {commit}).",
            advice="Set fsync = on on the server, or choose durability `normal`.",
        )
    connection.silence_s = timeouts.statement_s + timeouts.silence_s
