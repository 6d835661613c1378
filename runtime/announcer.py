"""Announces a running system on this machine, so that `callboard tree`, `top` and `why` find it.

A Unix socket in a folder that only this user can enter answers looks (see `looking.py`),
one for each connection. The folder's name says whose system it is, the socket's which
process it lives in (the system's own name may be anything, and as long as it likes); a
file whose process is gone is swept. A folder that is not ours alone is neither used nor
believed.
"""

import asyncio
import contextlib
import os
import pathlib
import secrets
import tempfile
from functools import partial
from typing import Final, TypeVar

from callboard.messages.contract import Request

from .looking import Ask, answer_of, answered, question_of

__all__ = ["GUEST", "SYSTEM", "Announcer", "announced", "ask_announced", "process_of"]

ReplyT = TypeVar("ReplyT")
SYSTEM: Final = ".sock"
"""What the socket of a system ends with."""
GUEST: Final = ".guest"
"""That of what runs executions in a system that is elsewhere: it is not a system itself."""
QUESTION_BYTES_MAX: Final = 65_536
ANSWER_BYTES_MAX: Final = 1 << 26
CONNECTIONS_MAX: Final = 64
"""Looks at once; more are turned away."""
LOOK_TIMEOUT_S: Final = 5.0
"""For the question, the look and the answer; a look itself waits 2 s for a host."""


def _folder() -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir()) / f"callboard-{os.getuid()}"


class Announcer:
    """Answers looks at one system, which `ask` asks, and wishes."""

    def __init__(self, ask: Ask, kind: str = SYSTEM) -> None:
        self._ask = ask
        self._server: asyncio.Server | None = None
        self._path = _folder() / f"{secrets.token_hex(4)}-{os.getpid()}{kind}"
        self._task: asyncio.Task[None] | None = None
        self._answering: dict[asyncio.Task[None], None] = {}

    def start(self) -> None:
        """Listen; a machine without Unix sockets goes without."""
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        with contextlib.suppress(OSError, NotImplementedError):
            _own_folder()
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(
                self._answer, str(self._path), limit=QUESTION_BYTES_MAX
            )

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering[task] = None
        try:
            # A line that is too long is a ValueError: who asks like that gets no answer.
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    if len(self._answering) <= CONNECTIONS_MAX:
                        question = await reader.readline()
                        writer.write(await answer_of(question, self._ask))
                        await writer.drain()
        finally:
            del self._answering[task]
            writer.close()

    async def stop(self) -> None:
        """Stop listening and take the file away."""
        if self._task is not None:
            await self._task
        if self._server is not None:
            self._server.close()
            for task in list(self._answering):
                task.cancel()  # Nobody is left who could answer.
            self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                _folder().rmdir()  # Only the last one out succeeds.


def _own_folder() -> pathlib.Path:
    folder = _folder()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not ours alone")
    return folder


def announced(kind: str) -> list[pathlib.Path]:
    """The sockets of this user's running systems, or guests; those of the dead are removed."""
    living = []
    with contextlib.suppress(OSError):
        if not _folder().exists():
            return []
        for path in sorted(_own_folder().glob(f"*{kind}")):
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
    """The process that a system's socket belongs to."""
    return int(path.stem.rpartition("-")[2])


def ask_announced(path: pathlib.Path) -> Ask:
    """A way to ask the system behind a socket."""
    return partial(_ask_over, path)


async def _ask_over(path: pathlib.Path, request: Request[ReplyT]) -> ReplyT:
    async with asyncio.timeout(LOOK_TIMEOUT_S):
        reader, writer = await asyncio.open_unix_connection(str(path), limit=ANSWER_BYTES_MAX)
        try:
            writer.write(question_of(request))
            await writer.drain()
            line = await reader.readline()
        finally:
            writer.close()
    return answered(request, line)
