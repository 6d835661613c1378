"""A few connections that threads share, and the handling of broken ones.

`psycopg_pool` opens them in its own thread, lends them, and replaces broken ones. An action on a
connection is repeatable (it reads, or its repetition changes nothing more) or not. When a
connection breaks, a repeatable action runs once more on a new one. The outcome of any other action
is unknown, and the error says so.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar, get_args

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from callboard.messages.core.errors import CallboardError, SpecError
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable

from ..rules import unstorable
from .connection import Session, StoreConnection
from .faults import error_of
from .place import Durability, Place, PostgresTimeouts

__all__ = ["Connections"]

ReturnT = TypeVar("ReturnT")
Action = Callable[[StoreConnection], ReturnT]

CHECK_FIRST_S: Final = 0.05
CHECK_MAX_S: Final = 1.0
"""How often a thread that waits for a connection checks for a failure: less and less often."""


class Connections:
    """At most `size` connections to one place. Any thread may call any method."""

    def __init__(
        self,
        place: Place,
        timeouts: PostgresTimeouts,
        durability: Durability,
        *,
        size: int,
        plans: str = "auto",
    ) -> None:
        """`plans` is PostgreSQL's `plan_cache_mode`. Raises `SpecError` for a wrong durability."""
        if durability not in get_args(Durability):
            raise SpecError(
                f"durability is {durability!r}.",
                advice=f"It must be one of {', '.join(get_args(Durability))}.",
                field="durability",
            )
        self.place: Final = place
        self.timeouts: Final = timeouts
        self._size = size
        self._session = Session(place, timeouts, durability, plans)
        self._pool = self._new_pool()

    def _new_pool(self) -> ConnectionPool[StoreConnection]:
        return ConnectionPool(
            self.place.conninfo,
            connection_class=StoreConnection,
            kwargs={"session": self._session},
            min_size=0,
            max_size=self._size,
            reconnect_timeout=self.timeouts.reconnect_s,
            name=self.place.shown,
            num_workers=1,
            open=False,
        )

    def run(self, action: Action[ReturnT], what: str, *, repeatable: bool = True) -> ReturnT:
        """Run an action on a connection, and return its result.

        Raises the errors of `EventStore`; `CommitUnknown` only for an action that is not
        repeatable. The caller handles a violated unique constraint, so it is raised unchanged.
        """
        error: CallboardError | None = None
        for _ in range(1 + repeatable):
            with self._borrowed() as connection:
                try:
                    return action(connection)
                except psycopg.errors.UniqueViolation:
                    raise
                except UnicodeEncodeError as failure:
                    raise unstorable(self.place.shown, failure.object) from failure
                except psycopg.Error as failure:
                    error = error_of(failure, name=self.place.shown, what=what)
                    if not (connection.broken or connection.closed or _is_cut(failure)):
                        raise error from failure
                    error.__cause__ = failure
                    connection.close()
        if not repeatable:
            raise CommitUnknown(
                f"{self.place.shown}: the connection broke in {what}: it may have happened.",
                advice="Repeat the action: it has no second effect.",
                may_have_run=True,
            ) from error
        raise StoreUnavailable(
            f"{self.place.shown}: the connection broke in {what}, twice.",
            advice="Callboard tries again. If the error persists, read the server's log.",
            may_have_run=False,
        ) from error

    @contextmanager
    def _borrowed(self) -> Iterator[StoreConnection]:
        pool = self._pool
        connection = self._take(pool)
        try:
            yield connection
        finally:
            _give_back(pool, connection)

    def _take(self, pool: ConnectionPool[StoreConnection]) -> StoreConnection:
        began_s, failed_before = time.monotonic(), self._session.failure
        check_s = CHECK_FIRST_S
        while True:
            try:
                with suppress(PoolTimeout):
                    connection = pool.getconn(timeout=check_s)
                    if connection.is_fresh:
                        return connection
                    connection.close()
                    _give_back(pool, connection)
            except PoolClosed:
                raise StoreUnavailable(
                    f"{self.place.shown} is closed.", advice="Open it again.", may_have_run=False
                ) from None
            check_s = min(2 * check_s, CHECK_MAX_S)
            waited_s, failure = time.monotonic() - began_s, self._session.failure
            if failure is not None and (
                (failure.is_permanent and failure is not failed_before)
                or waited_s > self.timeouts.reconnect_s
            ):
                raise failure.error.with_traceback(None)
            if waited_s > self.timeouts.borrow_s:
                raise StoreUnavailable(
                    f"{self.place.shown}: no connection was free for {self.timeouts.borrow_s} s.",
                    advice="The server is slow, or too many threads read at once.",
                    may_have_run=False,
                )

    def open(self) -> None:
        """Allow new connections, also after `close`."""
        self._pool.open()

    def open_for(self, prepare: Callable[["Connections"], None]) -> None:
        """Open, and prepare the store. A failure closes everything again."""
        self.open()
        try:
            prepare(self)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close idle connections now, and the others on their return. May be called twice."""
        # A closed pool cannot be opened again.
        pool, self._pool = self._pool, self._new_pool()
        pool.close()


def _give_back(pool: ConnectionPool[StoreConnection], connection: StoreConnection) -> None:
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        # The state of its transaction is unknown.
        connection.close()
    is_broken = connection.closed
    pool.putconn(connection)
    if is_broken:
        # The others may be broken too, so the pool replaces them all.
        pool.drain()


def _is_cut(failure: psycopg.Error) -> bool:
    """Whether the error comes from the client, not from the server.

    Such an error reports a socket that the other end closed during a wait. The connection does not
    know of it yet.
    """
    return isinstance(failure, psycopg.OperationalError) and failure.sqlstate is None
