"""A few connections that threads share, made when they are wanted and made anew when they break.

What is run on a connection is either repeatable (it reads, or its repetition changes nothing
more) or not. When a connection breaks, a repeatable action is run once more on a new one; of
the other nobody knows whether it happened, and that is said.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar, get_args

import psycopg

from callboard.messages.core.errors import CallboardError, SpecError
from callboard.messages.storage.errors import CommitUnknown, StoreUnavailable

from .connection import StoreConnection, Unanswered, connect
from .faults import cannot_connect, is_lasting, told
from .place import Durability, Place, PostgresTimeouts

__all__ = ["Connections"]

ReturnT = TypeVar("ReturnT")
Action = Callable[[StoreConnection], ReturnT]

PAUSE_FIRST_S: Final = 0.05
PAUSE_MAX_S: Final = 1.0


class Connections:
    """At most `size` connections to one place. All methods may be called by any thread."""

    def __init__(
        self,
        place: Place,
        timeouts: PostgresTimeouts,
        durability: Durability,
        *,
        size: int,
        plans: str = "auto",
    ) -> None:
        """`plans` is PostgreSQL's `plan_cache_mode`. Raises `SpecError` for no durability."""
        if durability not in get_args(Durability):
            raise SpecError(
                f"durability is {durability!r}.",
                advice=f"It must be one of {', '.join(get_args(Durability))}.",
                field="durability",
            )
        self.place: Final = place
        self.timeouts: Final = timeouts
        self.reconnects = 0
        """Connections that were made in place of one that broke."""
        self._durability = durability
        self._plans = plans
        self._free = threading.BoundedSemaphore(size)
        self._idle: list[StoreConnection] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def run(self, action: Action[ReturnT], what: str, *, repeatable: bool = True) -> ReturnT:
        """Run an action on a connection; gives what it gives.

        Raises what `EventStore` names; `CommitUnknown` only for what is not repeatable. A
        violated unique constraint is the caller's business and raised as it is.
        """
        error: Exception | None = None
        with self._borrowed() as lent:
            for is_last in (not repeatable, True):
                connection = lent[0]
                try:
                    return action(connection)
                except Unanswered:
                    error = _silence(self.place.shown, what, connection.silence_s)
                    connection.close()
                except psycopg.Error as failure:
                    if isinstance(failure, psycopg.errors.UniqueViolation):
                        raise
                    if not (connection.broken or connection.closed or _is_cut(failure)):
                        raise told(failure, name=self.place.shown, what=what) from failure
                    connection.close()
                    error = told(failure, name=self.place.shown, what=what)
                    error.__cause__ = failure
                if not repeatable:
                    raise _unknown(self.place.shown, what) from error
                if is_last:
                    break
                lent[0] = self._connect()
        raise _broken(self.place.shown, what) from error

    @contextmanager
    def _borrowed(self) -> Iterator[list[StoreConnection]]:
        """A connection, as the one item of a list: whoever borrows it may put another there."""
        if not self._free.acquire(timeout=self.timeouts.borrow_s):
            raise StoreUnavailable(
                f"{self.place.shown}: all connections are in use for {self.timeouts.borrow_s} s.",
                advice="The server is slow, or too many threads read at once.",
                may_have_run=False,
            )
        try:
            lent = [self._take()]
            try:
                yield lent
            except BaseException:
                # What is under way on it is unknown, unless it has come to rest.
                if lent[0].info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    lent[0].close()
                raise
            finally:
                self._give_back(lent[0])
        finally:
            self._free.release()

    def _take(self) -> StoreConnection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect()
            if connection.is_fresh:
                return connection
            connection.close()
            self.reconnects += 1

    def _give_back(self, connection: StoreConnection) -> None:
        with self._lock:
            if not connection.closed and not self._closed.is_set():
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> StoreConnection:
        deadline = time.monotonic() + self.timeouts.reconnect_s
        pause_s, tries = PAUSE_FIRST_S, 0
        while True:
            if self._closed.is_set():
                raise StoreUnavailable(
                    f"{self.place.shown} is closed.", advice="Open it again.", may_have_run=False
                )
            tries += 1
            try:
                return connect(self.place, self.timeouts, self._durability, plans=self._plans)
            except Unanswered:
                failure = psycopg.OperationalError("the server accepts and says nothing")
            except psycopg.Error as error:
                failure = psycopg.OperationalError(str(error))
            if is_lasting(failure) or time.monotonic() + pause_s > deadline:
                raise cannot_connect(failure, name=self.place.shown, tries=tries) from failure
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def open(self) -> None:
        """Let connections be made, also after `close`."""
        self._closed.clear()

    def open_for(self, prepare: Callable[["Connections"], None]) -> None:
        """Open, and prepare the store; when that fails nothing is left open."""
        self.open()
        try:
            prepare(self)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what is idle now, and the rest when it comes back; may be called twice."""
        self._closed.set()
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _is_cut(failure: psycopg.Error) -> bool:
    """Whether the client alone says it, not the server.

    A socket that the other end has closed while it was waited for is told by such an error, and
    the connection does not know of it yet.
    """
    return isinstance(failure, psycopg.OperationalError) and failure.sqlstate is None


def _silence(name: str, what: str, silence_s: float) -> CallboardError:
    return StoreUnavailable(
        f"{name}: {what}: the server has said nothing for {silence_s} s.",
        advice="Look whether its machine is up and what it waits for.",
        may_have_run=False,
    )


def _unknown(name: str, what: str) -> CommitUnknown:
    return CommitUnknown(
        f"{name}: the connection broke in {what}: it may have happened.",
        advice="Do the same again: what has happened is not done twice.",
        may_have_run=True,
    )


def _broken(name: str, what: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{name}: the connection broke in {what}, twice.",
        advice="It is tried again; if it stays, look into the server's log.",
        may_have_run=False,
    )
