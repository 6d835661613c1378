"""The stores of durable benches: a file, or a PostgreSQL started for the bench."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.outcome import Params

__all__ = ["store_for"]

Bytes = Callable[[], int]


@contextlib.contextmanager
def store_for(params: Params, folder: Path) -> Iterator[tuple[str, Bytes]]:
    """The URL of an empty store, and a function that gives its size on disk."""
    kind = params.get("store", "sqlite")
    if kind == "sqlite":
        path = folder / "journal.db"
        yield str(path), lambda: _size(path)
        return
    if kind != "postgres":
        msg = f"--store {kind}: there are sqlite and postgres"
        raise ValueError(msg)
    from tests.servers.postgres_server import PostgresServer

    # Under root the server runs as another user, who must be able to pass the temporary folder.
    outer = Path(tempfile.gettempdir())
    if not outer.stat().st_mode & 0o077:
        outer.chmod(0o711)

    with PostgresServer.running() as server:
        yield server.url(), server.size_bytes


def _size(path: Path) -> int:
    """The size of a file and its log."""
    return sum(
        each.stat().st_size for each in (path, path.with_name(path.name + "-wal")) if each.exists()
    )
