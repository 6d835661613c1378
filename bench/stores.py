"""The stores that benches of durable things run on: a file, or a PostgreSQL of their own."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.outcome import Params

__all__ = ["store_for"]

Bytes = Callable[[], int]


@contextlib.contextmanager
def store_for(params: Params, folder: Path) -> Iterator[tuple[str, Bytes]]:
    """The URL of an empty store, and what says how many bytes it takes on disk."""
    kind = params.get("store", "sqlite")
    if kind == "sqlite":
        path = folder / "journal.db"
        yield str(path), lambda: _size(path)
        return
    if kind != "postgres":
        msg = f"--store {kind}: there are sqlite and postgres"
        raise ValueError(msg)
    from tests.servers.postgres_server import PostgresServer

    # Started by root, the server is another user's, who must get through a folder of ours alone.
    outer = Path(tempfile.gettempdir())
    if not outer.stat().st_mode & 0o077:
        outer.chmod(0o711)

    with PostgresServer.running() as server:
        yield server.url(), server.size_bytes


def _size(path: Path) -> int:
    """Of a file with its log beside it."""
    return sum(
        beside.stat().st_size
        for beside in (path, path.with_name(path.name + "-wal"))
        if beside.exists()
    )
