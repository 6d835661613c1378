"""Announces a running system on this machine, so that `callboard tree` finds it.

A Unix socket in a folder that only this user can enter answers one question: what is
there. The folder's name says whose system it is, the socket's which process it lives in
(the system's own name may be anything, and as long as it likes); a file whose process is
gone is swept. A folder that is not ours alone is neither used nor believed.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import secrets
import tempfile
from typing import TYPE_CHECKING, Any, Final

from callboard.messages.errors import CallboardError

if TYPE_CHECKING:
    from .system import System

__all__ = ["Announcer", "announced_systems", "look_at"]

QUESTION_BYTES_MAX: Final = 1_000
LOOK_TIMEOUT_S: Final = 5.0
ACTORS_DEFAULT: Final = 50


def _folder() -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir()) / f"callboard-{os.getuid()}"


class Announcer:
    """Answers `callboard tree` for one system."""

    def __init__(self, system: "System") -> None:
        self._system = system
        self._server: asyncio.Server | None = None
        self._path = _folder() / f"{secrets.token_hex(4)}-{os.getpid()}.sock"
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen; a machine without Unix sockets goes without."""
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        with contextlib.suppress(OSError, NotImplementedError):
            _own_folder()
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._answer, str(self._path))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                question = await reader.readline()
                try:
                    asked = json.loads(question[:QUESTION_BYTES_MAX] or b"{}")
                    actors_max = max(0, min(int(asked.get("actors_max", ACTORS_DEFAULT)), 10_000))
                    view = await self._system.view(actors_max)
                    answer: dict[str, Any] = view.model_dump(mode="json")
                except (ValueError, AttributeError, TypeError, CallboardError) as error:
                    answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def stop(self) -> None:
        """Stop listening and take the file away."""
        if self._task is not None:
            await self._task
        if self._server is not None:
            self._server.close()
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


def announced_systems() -> list[pathlib.Path]:
    """The sockets of this user's running systems; those of dead processes are removed."""
    living = []
    with contextlib.suppress(OSError):
        if not _folder().exists():
            return []
        for path in sorted(_own_folder().glob("*.sock")):
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


async def look_at(path: pathlib.Path, actors_max: int = ACTORS_DEFAULT) -> dict[str, Any]:
    """What a system says of itself; raises OSError or TimeoutError when it does not answer."""
    async with asyncio.timeout(LOOK_TIMEOUT_S):
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 26)
        try:
            writer.write(json.dumps({"actors_max": actors_max}).encode() + b"\n")
            await writer.drain()
            answer: dict[str, Any] = json.loads(await reader.readline())
        finally:
            writer.close()
    return answer
