"""Connections over Unix sockets: who may connect, and how a peer proves itself.

The one way in for all sockets on which Callboard listens. A connection of another user is closed
before anything is read from it, and before anything is allocated for it. Where a token is asked
for, a connection has a deadline to show it, and the number of connections that have not shown it is
bounded. Each refusal is counted, and the log gets at most one line a minute. A listener that
refuses takes a rest after each batch, so that a flood of connections costs this process a small
share of its time.
"""

import asyncio
import enum
import hmac
import logging
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from callboard.actors.kernel.inspection.metric_sources import Name, Reading

__all__ = ["Listener", "Peer", "Refusal", "Refusals", "open_connection", "peer_of"]

LOGGER: Final = logging.getLogger("callboard.socket")
BACKLOG: Final = 64
"""Connections that the kernel keeps until they are accepted."""
ACCEPTS_MAX: Final = 16
"""Connections accepted in one turn of the event loop: some 0.2 ms."""
REST_S: Final = 0.02
"""The least rest of a listener that has refused a connection: at most 800 are refused in a
second."""
REST_SHARE: Final = 20
"""The rest is at least so many times the duration of the batch, which grows where processes wait
for a processor: a flood takes at most 5 % of a loop's time."""
REST_MAX_S: Final = 0.1
"""The longest such rest: a peer behind a full queue waits for at most four of them."""
FAILED_REST_S: Final = 1.0
"""The rest of a listener that cannot accept, for instance because no descriptor is left."""
TOKEN_TIMEOUT_S: Final = 5.0
"""How long a connection may take to show its token. A peer sends it as it connects."""
UNPROVEN_MAX: Final = 64
"""Connections without a token at once. One more closes the oldest: it has had the most time."""
LOG_EVERY_S: Final = 60.0
CREDENTIALS: Final = struct.Struct("3i")
"""Linux' `struct ucred`: process, user, group."""
TIMEVAL: Final = struct.Struct("@ll")


class Peer(NamedTuple):
    """The process at the other end of a connection."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer | None:
    """The peer's process and user when it connected; None where the system does not say."""
    if sys.platform != "linux":
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


class Refusals:
    """Counts the refused connections of one socket; logs the first, then one line a minute."""

    def __init__(self, socket_of: str) -> None:
        self._socket_of: Final = socket_of
        self._counts: Final[Counter[Refusal]] = Counter()
        self._unlogged: Counter[Refusal] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        """Set for a minute after each line."""

    def count(self, why: Refusal, detail: str) -> None:
        """Count one refusal. `detail` is logged, if a line is due."""
        self._counts[why] += 1
        if self._timer is not None:
            self._unlogged[why] += 1
            return
        LOGGER.warning("a connection to the socket of %s was refused: %s", self._socket_of, detail)
        self._wait_a_minute()

    def reading(self) -> Reading:
        """The counts, as a metric source."""
        name = "callboard_connections_refused"
        return Reading({Name(name, why.value): n for why, n in self._counts.items()}, {})

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
        LOGGER.warning(
            "%d more connections to the socket of %s were refused: %s",
            unlogged.total(),
            self._socket_of,
            ", ".join(f"{why.value} {count}" for why, count in unlogged.items()),
        )
        return True


class _Unproven(NamedTuple):
    """A connection that has not shown the whole token yet."""

    shown: bytearray
    deadline: asyncio.TimerHandle


class Listener:
    """Accepts connections of this user, and hands each to `accepted` once it has shown `token`.

    With an empty token nothing is to be shown. A connection does not block, and belongs to
    `accepted`.
    """

    def __init__(
        self, accepted: Callable[[socket.socket], None], refusals: Refusals, token: bytes = b""
    ) -> None:
        self._accepted: Final = accepted
        self._refusals: Final = refusals
        self._token: Final = token
        self._socket: socket.socket | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._refused = False
        """Whether the batch that is being accepted had a connection to refuse."""
        self._unproven: Final[dict[socket.socket, _Unproven]] = {}
        """The oldest first."""

    @property
    def unproven(self) -> int:
        """The number of connections that have not shown the token yet."""
        return len(self._unproven)

    def start(self, bound: socket.socket) -> None:
        """Listen on a socket that has its address. Raises `OSError`."""
        bound.settimeout(0.0)
        bound.listen(BACKLOG)
        self._socket = bound
        asyncio.get_running_loop().add_reader(bound, self._accept)

    def stop(self) -> None:
        """Stop listening, and close the connections that have not shown the token."""
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
        bound, loop = self._socket, asyncio.get_running_loop()
        if bound is None:
            return
        began_s = loop.time()
        self._refused = False
        self._accept_some(bound)
        if self._refused:
            took_s = loop.time() - began_s
            self._take_a_rest(min(max(REST_S, REST_SHARE * took_s), REST_MAX_S))

    def _accept_some(self, bound: socket.socket) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                connection, _ = bound.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._refusals.count(Refusal.FAILED, f"it cannot be accepted: {error}")
                self._take_a_rest(FAILED_REST_S)
                return
            peer = peer_of(connection)
            if peer is not None and peer.uid != os.getuid():
                detail = f"its process {peer.pid} is of user {peer.uid}"
                self._refuse(connection, Refusal.OTHER_USER, detail)
                continue
            connection.settimeout(0.0)
            if self._token:
                self._ask_for_token(connection)
            else:
                self._accepted(connection)

    def _ask_for_token(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(TOKEN_TIMEOUT_S, self._is_late, connection)
        self._unproven[connection] = _Unproven(bytearray(), deadline)
        loop.add_reader(connection, self._read_token, connection)
        self._read_token(connection)  # Usually it is there.
        if len(self._unproven) > UNPROVEN_MAX:
            oldest = next(iter(self._unproven))
            self._take_out(oldest)
            detail = f"{UNPROVEN_MAX} connections have not shown their token"
            self._refuse(oldest, Refusal.TOO_MANY, detail)

    def _read_token(self, connection: socket.socket) -> None:
        shown = self._unproven[connection].shown
        try:
            part = connection.recv(len(self._token) - len(shown))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            part = b""
        shown += part
        if part and len(shown) < len(self._token):
            return
        self._take_out(connection)
        if not part:
            self._refuse(connection, Refusal.NO_TOKEN, "it was closed before its token")
        elif hmac.compare_digest(shown, self._token):
            self._accepted(connection)
        else:
            self._refuse(connection, Refusal.WRONG_TOKEN, "its token is wrong")

    def _is_late(self, connection: socket.socket) -> None:
        # Where this loop was blocked, the token may be there by now.
        self._read_token(connection)
        if connection in self._unproven:
            self._take_out(connection)
            detail = f"it has shown no token for {TOKEN_TIMEOUT_S:g} s"
            self._refuse(connection, Refusal.NO_TOKEN, detail)

    def _take_out(self, connection: socket.socket) -> None:
        self._unproven.pop(connection).deadline.cancel()
        asyncio.get_running_loop().remove_reader(connection)

    def _refuse(self, connection: socket.socket, why: Refusal, detail: str) -> None:
        connection.close()
        self._refusals.count(why, detail)
        self._refused = True

    def _take_a_rest(self, rest_s: float) -> None:
        if self._rest is None and self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            self._rest = loop.call_later(rest_s, self._go_on)

    def _go_on(self) -> None:
        self._rest = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)


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
