"""The files of one system's endpoint on one node, in the private folder of its user.

A lock says who serves: the kernel releases it when that process ends, however it ends. Next to it
are a Unix socket for the reports of the hosts, what the next server goes on from, and the address
of the endpoint in the form that Prometheus reads (`file_sd_configs`).
"""

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import pathlib
import re
import time
from typing import Any, Final

from ...transport.private_folder import own_folder, private_folder

__all__ = ["Place", "known_targets", "replace_file"]

FOLDER: Final = "metrics"
LEFT_OVER_S: Final = 600.0
"""Files that nobody has locked and changed for so long belong to a system that was killed."""
NAME_CHARACTERS_MAX: Final = 40


class Place:
    """The files in a folder whose names begin with `stem`."""

    def __init__(self, folder: pathlib.Path, stem: str, system: str = "") -> None:
        self._folder: Final = folder
        self._stem: Final = stem
        self._system: Final = system

    @classmethod
    def of(cls, system: str, group: str) -> "Place":
        """The files of a system; `group` is unique for each."""
        digest = hashlib.blake2b(group.encode(), digest_size=6).hexdigest()
        readable = re.sub(r"[^A-Za-z0-9_-]", "-", system)[:NAME_CHARACTERS_MAX]
        return cls(private_folder() / FOLDER, f"{readable}-{digest}", system)

    def _path(self, suffix: str) -> pathlib.Path:
        return self._folder / f"{self._stem}{suffix}"

    @property
    def socket(self) -> pathlib.Path:
        """The socket for reports."""
        return self._path(".reports")

    def check(self) -> None:
        """Raise `OSError` when other users can enter the private folder."""
        if self._folder.parent == private_folder():
            own_folder()

    def lock(self) -> int | None:
        """A descriptor that holds the lock; None when another process has it.

        Raises `OSError` when there can be no file.
        """
        self.check()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_there = os.fstat(descriptor).st_ino == path.stat().st_ino  # Or it was removed.
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        if not is_there:
            os.close(descriptor)
            return None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor

    def is_served(self) -> bool:
        """Whether a process serves."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self._path(".lock"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
        return False

    def server(self) -> int:
        """The process that serves, or was the last to. Raises `OSError`, `ValueError`."""
        return int(self._path(".lock").read_text(encoding="ascii"))

    def save(self, data: bytes) -> None:
        """Replace what the next server goes on from. Raises `OSError`."""
        replace_file(self._path(".state"), data)

    def saved(self) -> bytes | None:
        """What the last server has saved; None without one."""
        with contextlib.suppress(OSError):
            return self._path(".state").read_bytes()
        return None

    def announce(self, host: str, port: int) -> None:
        """Tell Prometheus where the endpoint is. Raises `OSError`."""
        if ipaddress.ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"  # Prometheus is on this machine.
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        data = [{"targets": [target], "labels": {"callboard_system": self._system}}]
        replace_file(self._path(".json"), json.dumps(data).encode())

    def target(self) -> tuple[str, int] | None:
        """Where the last server has announced its endpoint."""
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            (found,) = _targets_in(self._path(".json"))
            host, _, port = found["targets"][0].rpartition(":")
            return host.strip("[]"), int(port)
        return None

    def remove(self) -> None:
        """Nobody is left to serve. Call it while the lock is held."""
        for suffix in (".json", ".reports", ".state", ".lock"):
            self._path(suffix).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()  # Only the last process succeeds.
            private_folder().rmdir()

    def clean(self) -> None:
        """Remove the files of systems that were killed."""
        for path in self._folder.glob("*.lock"):
            other = Place(self._folder, path.stem)
            if path.stem == self._stem or other._age_s() < LEFT_OVER_S:
                continue
            with contextlib.suppress(OSError):
                descriptor = other.lock()
                if descriptor is not None:
                    other.remove()
                    os.close(descriptor)

    def _age_s(self) -> float:
        """The time since a server has written here."""
        newest = 0.0
        for suffix in (".lock", ".state"):
            with contextlib.suppress(OSError):
                newest = max(newest, self._path(suffix).stat().st_mtime)
        return time.time() - newest


def replace_file(path: pathlib.Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file in one step. Raises `OSError`."""
    new = path.with_suffix(f"{path.suffix}.new")
    new.write_bytes(data)
    new.chmod(mode)
    new.replace(path)


def _targets_in(path: pathlib.Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_bytes())
    return found


def known_targets() -> list[dict[str, Any]]:
    """The endpoints of this user's systems on this machine, as Prometheus reads them."""
    found = []
    for path in sorted((private_folder() / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            if Place(path.parent, path.stem).is_served():
                found.extend(_targets_in(path))
    return found
