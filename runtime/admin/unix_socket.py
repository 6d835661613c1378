"""The admin API over Unix sockets: one for each process of this user that answers requests.

The sockets lie in a folder that only this user can enter. The suffix of a socket's name says which
requests the process answers, and the rest names the process. (A system's name may have any
characters and any length.) A socket of a dead process is removed. A folder that others can enter
is not used. The folder belongs to the machine and is not `CALLBOARD_HOME`, which many machines may
share, and which may differ between a driver and Ray's workers.

A connection carries lines (see `wire.py`). Each line gets one line as its reply, in order. The
connections of other users, which a folder's permissions keep out, are refused again as those of
links are (`transport/connections.py`).
"""

import asyncio
import contextlib
import os
import pathlib
import secrets
import socket
from functools import partial
from typing import Any, Final

from callboard.actors.kernel.inspection.metric_sources import Reading
from callboard.messages.core.errors import CallboardError, MailboxFull

from ..transport.connections import Listener, Refusal, Refusals, peer_of
from ..transport.private_folder import own_folder, private_folder
from .client import AdminClient
from .port import Caller
from .principals import local_principal
from .service import AdminService
from .wire import REPLY_BYTES_MAX, REQUEST_BYTES_MAX, encode_error, too_long

__all__ = ["EXECUTIONS", "SYSTEM", "AdminSocket", "admin_sockets", "connect", "process_of"]

SYSTEM: Final = ".sock"
"""The suffix of the socket of a system."""
EXECUTIONS: Final = ".executions"
"""The suffix of the socket of a process that only runs executions of another system."""
CONNECTIONS_MAX: Final = 64
"""Connections at once. More are refused."""
READ_TIMEOUT_S: Final = 5.0
"""How long a connection may be idle before its next line."""
SEND_TIMEOUT_S: Final = 5.0
REPLY_TIMEOUT_S: Final = 5.0
"""How long a client waits for a reply by default."""


class AdminSocket:
    """Serves `service` on a socket of this process, while it is open."""

    def __init__(self, service: AdminService, kind: str = SYSTEM) -> None:
        self._service = service
        self._refusals: Final = Refusals("the admin API")
        self._listener: Final = Listener(self._open, self._refusals)
        self._is_open = False
        self._path = private_folder() / f"{secrets.token_hex(4)}-{os.getpid()}{kind}"
        self._connections: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Listen. On a machine without Unix sockets this does nothing."""
        with contextlib.suppress(OSError, NotImplementedError):
            own_folder()
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                bound.bind(str(self._path))
                self._listener.start(bound)
                self._is_open = True
            except OSError:
                bound.close()
                raise

    def reading(self) -> Reading:
        """The refused connections, as a metric source."""
        return self._refusals.reading()

    def _open(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_unix_connection(
                sock=connection, limit=REQUEST_BYTES_MAX
            )
            try:
                await self._answer(reader, writer, _caller(connection))
            finally:
                writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: Caller
    ) -> None:
        if len(self._connections) > CONNECTIONS_MAX:
            self._refusals.count(Refusal.TOO_MANY, f"{CONNECTIONS_MAX} connections are open")
            await _send(writer, encode_error(_turned_away()))
            return
        while True:
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    line = await reader.readline()
            except ValueError:  # The begin of the next line is unknown.
                await _send(writer, encode_error(too_long()))
                return
            if not line:
                return
            await _send(writer, await self._service.answer(line, caller))

    async def stop(self) -> None:
        """Stop listening, and remove the file."""
        if not self._is_open:
            return
        self._listener.stop()
        for task in self._connections:
            task.cancel()  # The service is about to end.
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            private_folder().rmdir()  # Only the last process succeeds.


def _turned_away() -> CallboardError:
    return MailboxFull(
        f"{CONNECTIONS_MAX} connections are open to the admin socket.",
        advice="Try again.",
        may_have_run=False,
    )


async def _send(writer: asyncio.StreamWriter, line: bytes) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        writer.write(line)
        await writer.drain()


def _caller(connection: socket.socket) -> Caller:
    peer = peer_of(connection)
    if peer is None:  # Only this user can enter the folder of the socket.
        return Caller("socket", principal=local_principal("socket"))
    return Caller("socket", peer.uid, peer.pid, local_principal("socket", peer.uid))


# --- the folder -------------------------------------------------------------------------------


def admin_sockets(kind: str) -> list[pathlib.Path]:
    """The sockets of one kind of this user's living processes. Removes those of dead processes."""
    living = []
    with contextlib.suppress(OSError):
        if not private_folder().exists():
            return []
        for path in sorted(own_folder().glob(f"*{kind}")):
            pid = path.stem.rpartition("-")[2]
            if pid.isdigit() and _is_alive(int(pid)):
                living.append(path)
            else:
                path.unlink(missing_ok=True)
    return living


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def process_of(path: pathlib.Path) -> int:
    """The process of a socket."""
    return int(path.stem.rpartition("-")[2])


# --- a client ---------------------------------------------------------------------------------


def connect(path: pathlib.Path, timeout_s: float = REPLY_TIMEOUT_S) -> AdminClient:
    """A client of the process behind a socket. Each request uses its own connection."""
    return AdminClient(partial(_exchange, path), timeout_s)


async def _exchange(path: pathlib.Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path), limit=REPLY_BYTES_MAX)
    try:
        writer.write(line)
        await writer.drain()
        answer = await reader.readline()
    finally:
        writer.close()
    if not answer:
        raise ConnectionResetError(
            f"process {process_of(path)} closed the connection without a reply"
        )
    return answer
