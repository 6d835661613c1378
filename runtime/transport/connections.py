"""Connections over sockets: who may connect, and how a peer proves itself.

The one way in for all sockets on which Callboard listens. A Unix connection of another user is
closed before anything is read from it, and before anything is allocated for it. Where a proof is
asked for (`handshake.py`), a connection has a deadline for it, and the number of connections that
are not proven is bounded. Each refusal is counted, and the log gets at most one line a minute. A
listener that refuses takes a rest, so that a flood of connections costs this process a small share
of its time.
"""

import asyncio
import enum
import logging
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from callboard.actors.kernel.inspection.metric_sources import Name, Reading

from .handshake import Admission

__all__ = ["Counted", "Listener", "Peer", "Refusal", "Refusals", "open_connection", "peer_of"]

LOGGER: Final = logging.getLogger("callboard.socket")
BACKLOG: Final = 64
"""Connections that the kernel keeps until they are accepted."""
ACCEPTS_MAX: Final = 16
"""Connections accepted in one turn of the event loop: some 0.2 ms."""
REST_S: Final = 0.02
"""The least rest of a listener that has refused a connection: at most 800 are refused in a
second."""
REST_SHARE: Final = 20
"""The rest is at least so many times the work since the last one, which grows where processes wait
for a processor: a flood takes at most 5 % of a loop's time."""
REST_MAX_S: Final = 0.1
"""The longest such rest: a peer behind a full queue waits for at most four of them."""
FAILED_REST_S: Final = 1.0
"""The rest of a listener that cannot accept, for instance because no descriptor is left."""
TOKEN_TIMEOUT_S: Final = 5.0
"""How long a connection may take for its proof. A peer sends it as it connects."""
UNPROVEN_MAX: Final = 64
"""Connections without a proof at once. One more closes the oldest: it has had the most time."""
LOG_EVERY_S: Final = 60.0
CREDENTIALS: Final = struct.Struct("3i")
"""Linux' `struct ucred`: process, user, group."""
TIMEVAL: Final = struct.Struct("@ll")


class Peer(NamedTuple):
    """The process at the other end of a connection."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer | None:
    """The peer's process and user when it connected; None where the system does not say.

    The peer of a TCP connection may be on another machine.
    """
    if sys.platform != "linux" or isinstance(connection.getsockname(), tuple):
        return None
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, _ = CREDENTIALS.unpack(packed)
    return Peer(pid, uid)


@enum.unique
class Refusal(enum.Enum):
    """The reason for which a connection was closed. The values are labels of a metric."""

    OTHER_USER = "other_user"
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - no password
    NO_TOKEN = "no_token"  # noqa: S105 - no password
    TOO_MANY = "too_many"
    INVALID = "invalid"
    FAILED = "failed"


class Counted:
    """Counts what goes wrong, by reason; logs the first time, then one line a minute."""

    def __init__(self, metric: str, one: str, more: str) -> None:
        self._metric: Final = metric
        self._one: Final = one
        """The begin of the line for one case."""
        self._more: Final = more
        """The line for several, after their number."""
        self._counts: Final[Counter[enum.Enum]] = Counter()
        self._unlogged: Counter[enum.Enum] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        """Set for a minute after each line."""

    def count(self, why: enum.Enum, detail: str) -> None:
        """Count one case. `detail` is logged, if a line is due."""
        self._counts[why] += 1
        if self._timer is not None:
            self._unlogged[why] += 1
            return
        LOGGER.warning("%s: %s", self._one, detail)
        self._wait_a_minute()

    def reading(self) -> Reading:
        """The counts, as a metric source."""
        return Reading({Name(self._metric, why.value): n for why, n in self._counts.items()}, {})

    def close(self) -> None:
        """Log what was counted since the last line."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._log_the_rest()

    def _wait_a_minute(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOG_EVERY_S, self._minute_is_over)

    def _minute_is_over(self) -> None:
        self._timer = None
        if self._log_the_rest():
            self._wait_a_minute()

    def _log_the_rest(self) -> bool:
        unlogged, self._unlogged = self._unlogged, Counter()
        if not unlogged:
            return False
        by_reason = ", ".join(f"{why.value} {count}" for why, count in unlogged.items())
        LOGGER.warning("%d %s: %s", unlogged.total(), self._more, by_reason)
        return True


class Refusals(Counted):
    """The refused connections of one process or part of it."""

    def __init__(self, socket_of: str) -> None:
        super().__init__(
            "callboard_connections_refused",
            f"a connection to the socket of {socket_of} was refused",
            f"more connections to the socket of {socket_of} were refused",
        )


class _Unproven(NamedTuple):
    """A connection that is not proven yet."""

    admission: Admission
    deadline: asyncio.TimerHandle


class Listener:
    """Accepts connections, and hands each to `accepted` once its peer is proven.

    `admit` makes the admission of a connection; without it each connection of this user is
    accepted. A connection does not block, and belongs to `accepted`.
    """

    def __init__(
        self,
        accepted: Callable[[socket.socket], None],
        refusals: Refusals,
        admit: Callable[[], Admission] | None = None,
    ) -> None:
        self._accepted: Final = accepted
        self._refusals: Final = refusals
        self._admit: Final = admit
        self._socket: socket.socket | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._work_s = 0.0
        """The time for connections since the last rest."""
        self._unproven: Final[dict[socket.socket, _Unproven]] = {}
        """The oldest first."""

    @property
    def unproven(self) -> int:
        """The number of connections that are not proven yet."""
        return len(self._unproven)

    def start(self, bound: socket.socket) -> None:
        """Listen on a socket that has its address. Raises `OSError`."""
        bound.settimeout(0.0)
        bound.listen(BACKLOG)
        self._socket = bound
        asyncio.get_running_loop().add_reader(bound, self._accept)

    def stop(self) -> None:
        """Stop listening, and close the connections that are not proven."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for connection in tuple(self._unproven):
            self._take_out(connection)
            connection.close()
        self._refusals.close()

    def _accept(self) -> None:
        bound = self._socket
        if bound is not None:
            self._work(lambda: self._accept_some(bound))

    def _work(self, does: Callable[[], bool]) -> None:
        """Do something for connections; after a refusal the listener takes a rest."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        has_refused = does()
        self._work_s += loop.time() - began_s
        if has_refused and self._rest is None:
            self._take_a_rest(min(max(REST_S, REST_SHARE * self._work_s), REST_MAX_S))
            self._work_s = 0.0

    def _accept_some(self, bound: socket.socket) -> bool:
        """Accept a batch of connections; returns whether one was refused."""
        has_refused = False
        for _ in range(ACCEPTS_MAX):
            try:
                connection, _ = bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:
                self._refusals.count(Refusal.FAILED, f"it cannot be accepted: {error}")
                self._take_a_rest(FAILED_REST_S)
                break
            has_refused |= self._admit_one(connection)
        return has_refused

    def _admit_one(self, connection: socket.socket) -> bool:
        peer = peer_of(connection)
        if peer is not None and peer.uid != os.getuid():
            detail = f"its process {peer.pid} is of user {peer.uid}"
            return self._refuse(connection, Refusal.OTHER_USER, detail)
        connection.settimeout(0.0)
        if self._admit is None:
            self._accepted(connection)
            return False
        return self._ask_for_proof(connection, self._admit())

    def _ask_for_proof(self, connection: socket.socket, admission: Admission) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(TOKEN_TIMEOUT_S, self._is_late, connection)
        self._unproven[connection] = _Unproven(admission, deadline)
        loop.add_reader(connection, self._read_soon, connection)
        has_refused = not _send(connection, admission.greeting) and self._drop(
            connection, Refusal.NO_TOKEN, "it was closed before its token"
        )
        if not has_refused:
            has_refused = self._read(connection)  # Inside a node the token usually is there.
        if len(self._unproven) > UNPROVEN_MAX:
            detail = f"{UNPROVEN_MAX} connections have not shown their token"
            return self._drop(next(iter(self._unproven)), Refusal.TOO_MANY, detail)
        return has_refused

    def _read_soon(self, connection: socket.socket) -> None:
        self._work(lambda: self._read(connection))

    def _read(self, connection: socket.socket) -> bool:
        """Read more of a proof; returns whether the connection was refused."""
        admission = self._unproven[connection].admission
        try:
            # Not one byte more: frames follow.
            part = connection.recv(admission.missing)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            part = b""
        if not part:
            return self._drop(connection, Refusal.NO_TOKEN, "it was closed before its token")
        admission.take(part)
        if admission.missing:
            return False
        if not admission.is_right:
            return self._drop(connection, Refusal.WRONG_TOKEN, "its token is wrong")
        if not _send(connection, admission.proof):
            return self._drop(connection, Refusal.NO_TOKEN, "it was closed after its token")
        self._take_out(connection)
        self._accepted(connection)
        return False

    def _is_late(self, connection: socket.socket) -> None:
        self._work(lambda: self._read_or_drop(connection))

    def _read_or_drop(self, connection: socket.socket) -> bool:
        # Where this loop was blocked, the token may be there by now.
        has_refused = self._read(connection)
        if connection in self._unproven:
            detail = f"it has shown no token for {TOKEN_TIMEOUT_S:g} s"
            return self._drop(connection, Refusal.NO_TOKEN, detail)
        return has_refused

    def _drop(self, connection: socket.socket, why: Refusal, detail: str) -> bool:
        self._take_out(connection)
        return self._refuse(connection, why, detail)

    def _take_out(self, connection: socket.socket) -> None:
        self._unproven.pop(connection).deadline.cancel()
        asyncio.get_running_loop().remove_reader(connection)

    def _refuse(self, connection: socket.socket, why: Refusal, detail: str) -> bool:
        connection.close()
        self._refusals.count(why, detail)
        return True

    def _take_a_rest(self, rest_s: float) -> None:
        if self._rest is None and self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            self._rest = loop.call_later(rest_s, self._go_on)

    def _go_on(self) -> None:
        self._rest = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)


def _send(connection: socket.socket, data: bytes) -> bool:
    """Send a few bytes to a new connection, whose buffer is empty; False when it has ended."""
    try:
        return not data or connection.send(data) == len(data)
    except OSError:
        return False


async def open_connection(name: str, token: bytes, timeout_s: float) -> socket.socket:
    """Connect, and show the token. The connection does not block.

    A Unix socket connects at once, or fails, unless the listener's queue is full: then a thread
    waits for a place, for at most `timeout_s`. Raises `OSError`.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(0.0)
        try:
            connection.connect(name)
        except BlockingIOError:
            await asyncio.to_thread(_wait_for_place, connection, name, timeout_s)
        connection.sendall(token)  # Its buffer is empty: this does not block.
    except BaseException:
        connection.close()
        raise
    return connection


def _wait_for_place(connection: socket.socket, name: str, timeout_s: float) -> None:
    # Waiting in the kernel keeps the order of those who wait; trying again and again does not.
    limit = TIMEVAL.pack(int(timeout_s), int(timeout_s % 1 * 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connection.settimeout(None)
    connection.connect(name)
    connection.settimeout(0.0)
