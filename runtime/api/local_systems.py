"""Whole systems on this machine: the files by which `callboard up`, drivers and `down` find one.

Each has a folder below `CALLBOARD_HOME`, which only this user can enter. A process that stays, the
daemon, holds Ray's head and the lock of the folder while it lives; the kernel releases the lock
when it ends in any way. So a file of an ended daemon is never taken for a running system.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import check_name, shell_command

from ..executions.journals import home
from ..stores.file_lock import FileLock
from ..stores.private import narrow, private_folder, write_private
from ..transport.process_watch import Identity

__all__ = ["LocalFolder", "LocalSystem", "local_address", "local_folders"]

STATE: Final = "state.json"
TOKEN: Final = "token"  # noqa: S105 - the name of a file
LOG: Final = "daemon.log"
STATE_BYTES_MAX: Final = 1 << 16
TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSystem:
    """What the daemon of a system says about it."""

    name: str
    daemon: Identity
    address: str = ""
    """Ray's address; empty while its head starts."""
    session: str = ""
    """The folder of Ray's session, which the command lines of its processes name."""
    urls: tuple[str, ...] = ()
    """Where the page is; empty while the system starts."""

    @property
    def is_up(self) -> bool:
        """Whether its start is over."""
        return bool(self.urls)


class LocalFolder:
    """The folder of one system. Raises `UsageError` for a name that no folder can have."""

    def __init__(self, name: str, environment: Mapping[str, str] = os.environ) -> None:
        check_name("the system's name", name, error=UsageError)
        if "/" in name or name.startswith("."):
            raise UsageError(
                f"the system's name {name!r} is no name of a folder.", advice="Choose another one."
            )
        self.name: Final = name
        self.path: Final = home(environment) / "systems" / name

    @property
    def token(self) -> Path:
        """The file with the token of its Ray."""
        return self.path / TOKEN

    @property
    def log(self) -> Path:
        """The output of its daemon."""
        return self.path / LOG

    def lock(self) -> FileLock:
        """What the daemon holds while it lives."""
        return FileLock(self.path / "daemon")

    def make(self) -> None:
        """Make the folder. Raises `OSError`."""
        private_folder(self.path)
        narrow((self.path,))

    def is_held(self) -> bool:
        """Whether its daemon lives."""
        if not self.path.is_dir():
            return False
        lock = self.lock()
        is_free = lock.take()
        lock.release()
        return not is_free

    def write_token(self) -> None:
        """Write a new token for Ray."""
        write_private(self.token, secrets.token_hex(TOKEN_BYTES))

    def write(self, state: LocalSystem) -> None:
        """Replace what is said about the system; a reader gets the old text or the new one."""
        made = self.path / f"{STATE}.{os.getpid()}"
        write_private(made, json.dumps(asdict(state)))
        made.replace(self.path / STATE)

    def read(self) -> LocalSystem | None:
        """What the last daemon has said; None before it has said anything.

        Raises `UsageError` for a damaged file.
        """
        path = self.path / STATE
        try:
            with path.open(encoding="utf-8") as file:
                data = json.loads(file.read(STATE_BYTES_MAX))
            return LocalSystem(
                name=str(data["name"]),
                daemon=_identity(*data["daemon"]),
                address=str(data["address"]),
                session=str(data["session"]),
                urls=tuple(map(str, data["urls"])),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{path} says nothing about a system.",
                advice=f"`{shell_command('callboard down', self.name)}` removes it.",
            ) from None

    def forget(self) -> None:
        """Remove what was said, and Ray's token."""
        for path in (self.path / STATE, self.token):
            path.unlink(missing_ok=True)


def _identity(process_id: int, began_ticks: int, namespace: str) -> Identity:
    return Identity(int(process_id), int(began_ticks), str(namespace))


def local_folders(environment: Mapping[str, str] = os.environ) -> list[LocalFolder]:
    """The folders of all systems that were started by `callboard up`, by name."""
    found = []
    for path in sorted((home(environment) / "systems").glob(f"*/{STATE}")):
        with contextlib.suppress(UsageError):
            found.append(LocalFolder(path.parent.name, environment))
    return found


def local_address(name: str, environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Ray's address of a system of this machine; None when `callboard up` runs none of that name.

    Ray reads its token from the environment alone, so this names the file with it there.
    """
    try:
        folder = LocalFolder(name, environment)
        state = folder.read()
    except UsageError:
        return None
    if state is None or not state.address or not folder.is_held():
        return None
    environment.pop("RAY_AUTH_TOKEN", None)
    environment["RAY_AUTH_TOKEN_PATH"] = str(folder.token)
    environment["RAY_AUTH_MODE"] = "token"
    return state.address
