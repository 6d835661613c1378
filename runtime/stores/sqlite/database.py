"""One SQLite file and its connections: one writes, and each thread has one to read.

In WAL mode readers see the last commit. Readers and the writer never wait for each other. The
durability says what a commit survives: `full` syncs the log at each commit (survives a loss of
power), `normal` only at checkpoints (survives the end of any process), `off` never.

A connection in use is closed by the thread that uses it, when its call ends. Python's `sqlite3`
takes the process down when another thread closes a connection during a call.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import StoreDamaged, StoreUnavailable

from ..private import narrow, open_private, private_folder
from .faults import fault_of, translate_errors
from .schema import bring_forward, check_tables
from .tail import NOTHING, Tail, log_of, tail_of

__all__ = ["DURABILITIES", "Database"]

LOGGER: Final = logging.getLogger("callboard.stores")
DURABILITIES: Final = {"full": "FULL", "normal": "NORMAL", "off": "OFF"}
MAKING: Final = threading.Lock()
"""Held while a file is made: nobody connects to it before it is closed again."""
BUSY_S: Final = 5.0
"""The longest wait for a lock of another process."""
BUSY_RETRY_S: Final = 0.01
CHECKPOINT_PAGES: Final = 4_000
"""Pages in the log, about 16 MB, after which a commit moves them into the file."""
LOG_BYTES_KEPT: Final = 64 * 2**20
CACHE_KIB: Final = 16_384
PAGE_BYTES: Final = 4_096
SMALL_LOG_PAGES: Final = 128
"""The same for a small file that `stays_small`, half a megabyte: two more syncs for each."""
SMALL_SHARE: Final = 16
"""In a file that `stays_small`, the log and the free pages are at most a share like this."""
FREED_PAGES_MAX: Final = 256
"""The most pages that one step gives back: a megabyte, and some milliseconds."""


class Database:
    """Opens a file, and translates every error of SQLite. One object for each store.

    With `reads_only` it never creates or changes a file, and never waits for the writer. With
    `stays_small` the log is at most a sixteenth of a large file, and `shrink` gives free pages
    back: for rows that come and go.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        durability: str = "full",
        busy_s: float = BUSY_S,
        reads_only: bool = False,
        stays_small: bool = False,
    ) -> None:
        if durability not in DURABILITIES:
            raise SpecError(
                f"durability is {durability!r}.",
                advice=f"It must be one of {', '.join(DURABILITIES)}.",
                field="durability",
            )
        self.path: Final = Path(path)
        self.name: Final = f"sqlite {self.path}"
        self._turn = threading.Lock()
        self._durability = durability
        self._busy_s = busy_s
        self._reads_only = reads_only
        self._stays_small = stays_small
        self._log_pages = SMALL_LOG_PAGES if stays_small else CHECKPOINT_PAGES
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._in_use: set[sqlite3.Connection] = set()
        """Those with a call or a transaction under way."""
        self._writer: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._found_log: bool | None = None
        """Whether there was a log before the first connection."""
        self._is_closed = False

    def open(self) -> None:
        """Create the file and its tables, or migrate them; see `schema.bring_forward`.

        With `reads_only` the file must exist: raises `StoreUnavailable`, and what `check_tables`
        raises.
        """
        if self._reads_only:
            if not self.path.is_file():
                raise StoreUnavailable(f"{self.name}: no such file.")
            with translate_errors(self.name), self.reading() as reader:
                check_tables(reader, self.name)
            return
        try:
            private_folder(self.path.parent)
            self._make_private()
        except OSError as error:
            raise StoreUnavailable(
                f"{self.name}: {error}.", advice="Name another folder, or repair the file's mode."
            ) from error
        with translate_errors(self.name), self._using(self.writer()) as writer:
            bring_forward(writer, self.name)

    def _make_private(self) -> None:
        """Give the file its mode. SQLite gives its log and its index the same.

        An existing file is never opened here. To close it would release the locks of all other
        connections of this process, and another process would remove the log that they write.
        """
        with MAKING:
            if not self.path.exists():
                os.close(open_private(self.path))
            elif not os.access(self.path, os.W_OK):
                return  # It cannot be written, and SQLite says so.
            narrow(self.path.with_name(self.path.name + end) for end in ("", "-wal", "-shm"))

    # --- connections ---------------------------------------------------------------------------

    def writer(self) -> sqlite3.Connection:
        """The connection that writes. One thread at a time uses it."""
        self._check_file()
        if self._writer is None:
            self._writer = self._connect("OFF")
            found = self.path.stat()
            self._identity = (found.st_dev, found.st_ino)
        return self._writer

    def _check_file(self) -> None:
        """Check before each write that the file still exists: a removed file loses writes."""
        if self._identity is None:
            return
        try:
            found = self.path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                self._fit_log(found.st_size)
                return
        except OSError:
            pass
        raise StoreUnavailable(
            f"{self.name}: the file was removed or replaced during use.",
            advice="Restore it from a copy and start again. Nothing more is written.",
        )

    def _fit_log(self, size_bytes: int) -> None:
        """Let the log grow with the file, up to its usual size."""
        pages = size_bytes // (PAGE_BYTES * SMALL_SHARE)
        pages = min(max(SMALL_LOG_PAGES, pages), CHECKPOINT_PAGES)
        if self._stays_small and not pages // 2 < self._log_pages <= pages and self._writer:
            self._log_pages = pages
            self._limit_log(self._writer)

    def _limit_log(self, connection: sqlite3.Connection) -> None:
        kept = self._log_pages * PAGE_BYTES if self._stays_small else LOG_BYTES_KEPT
        connection.execute(f"PRAGMA wal_autocheckpoint = {self._log_pages}")
        connection.execute(f"PRAGMA journal_size_limit = {kept}")

    def drop_writer(self) -> None:
        """Close a connection in an unknown state."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._lock:
                if writer in self._connections:
                    self._connections.remove(writer)
            self._close(writer)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection for reading, in use until the block ends."""
        with self._using(self._reader()) as reader:
            yield reader

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect("ON")
        return connection

    @contextlib.contextmanager
    def _using(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        self._begin_use(connection)
        try:
            yield connection
        finally:
            self._end_use(connection)

    def _begin_use(self, connection: sqlite3.Connection) -> None:
        # In this order, so that `close` either sees the use, or is seen here.
        self._in_use.add(connection)
        if self._is_closed:
            self._end_use(connection)
            self._check_open()

    def _end_use(self, connection: sqlite3.Connection) -> None:
        self._in_use.discard(connection)
        if self._is_closed:
            self._close_unused()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreUnavailable(f"{self.name} is closed.")

    def _connect(self, query_only: str) -> sqlite3.Connection:
        self._check_open()
        if self._found_log is None:
            log = log_of(self.path)
            self._found_log = log.exists() and log.stat().st_size > 0
        where = f"{self.path.absolute().as_uri()}?mode={'ro' if self._reads_only else 'rwc'}"
        connection = sqlite3.connect(
            where, timeout=self._busy_s, isolation_level=None, check_same_thread=False, uri=True
        )
        try:
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.execute("PRAGMA temp_store = MEMORY")
            if not self._reads_only:
                self._use_log(connection)
            connection.execute(f"PRAGMA query_only = {query_only}")
            with self._lock:
                self._check_open()
                self._connections.append(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_log(self, connection: sqlite3.Connection) -> None:
        if self._stays_small and not self.path.stat().st_size:
            # Only a new file takes it, and only before its log begins; to an old one it would be
            # a write.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        mode = self._begin_log(connection)
        if mode != "wal":
            raise StoreUnavailable(
                f"{self.name}: the file system does not support a write-ahead log ({mode}).",
                advice="Put the file on a local disk.",
            )
        connection.execute(f"PRAGMA synchronous = {DURABILITIES[self._durability]}")
        self._limit_log(connection)

    def _begin_log(self, connection: sqlite3.Connection) -> str:
        """Switch to a log, and return the mode. Waits as long as for any other lock."""
        deadline_s = time.monotonic() + self._busy_s
        while True:
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                # Several processes create one file. SQLite does not wait here, so this loop does.
                is_busy = error.sqlite_errorname.startswith("SQLITE_BUSY")
                if not is_busy or time.monotonic() >= deadline_s:
                    raise
                time.sleep(BUSY_RETRY_S)
            else:
                return str(mode)

    def _close_unused(self) -> None:
        """Close the connections that nobody uses; the store is closed."""
        with self._lock:
            unused = [each for each in self._connections if each not in self._in_use]
            self._connections = [each for each in self._connections if each in self._in_use]
        for connection in unused:
            self._close(connection)

    def _close(self, connection: sqlite3.Connection) -> None:
        try:
            connection.close()
        except sqlite3.Error as error:
            LOGGER.warning("%s: a connection does not close: %s", self.name, error)

    # --- reading ---------------------------------------------------------------------------------

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query."""
        with translate_errors(self.name):
            reader = self._reader()
            self._begin_use(reader)
            try:
                return reader.execute(statement, parameters).fetchall()
            finally:
                self._end_use(reader)

    def tail(self) -> Tail:
        """The uncommitted end of the log, which SQLite cut off after a crash."""
        with translate_errors(self.name), self._using(self.writer()) as writer:
            writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not self._found_log:
                return NOTHING
            try:
                # A checkpoint returns the number of frames, even if it moves none.
                _, taken, _ = writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error:
                return NOTHING  # It cannot write. The next write raises the reason.
        tail = tail_of(self.path, taken)
        if tail.bytes:
            LOGGER.warning(
                "%s: %d bytes at the end of its log were not committed (a torn write, or the "
                "end of its process); they are cut off.", self.name, tail.bytes,
            )  # fmt: skip
        return tail

    def check(self) -> None:
        """Read the whole file. Raises `StoreDamaged` with the findings of SQLite."""
        with translate_errors(self.name), self.reading() as reader:
            found = [row[0] for row in reader.execute("PRAGMA integrity_check(20)")]
        if found != ["ok"]:
            raise StoreDamaged(
                f"{self.name} is damaged: {'; '.join(found)}.",
                advice="Keep a copy, and restore a backup.",
            )

    # --- transactions ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes; an error in it undoes it.

        Threads take turns, because one connection writes. Raises the stores' errors.
        """
        with self._turn:
            writer = self.begin()
            try:
                with translate_errors(self.name):
                    yield writer
            except BaseException:
                self.roll_back(writer)
                raise
            self.commit(writer)

    def begin(self) -> sqlite3.Connection:
        """Begin a transaction that writes. `commit` or `roll_back` must follow."""
        try:
            writer = self.writer()
            self._begin_use(writer)
            try:
                writer.execute("BEGIN IMMEDIATE")
            except BaseException:
                self._end_use(writer)
                raise
        except sqlite3.Error as error:
            raise fault_of(self.name, error) from error
        return writer

    def commit(self, writer: sqlite3.Connection) -> None:
        """Commit, with the durability of this store."""
        try:
            writer.execute("COMMIT")
        except sqlite3.Error as error:
            failed = fault_of(self.name, error, committing=True)
            self.roll_back(writer)
            raise failed from error
        self._end_use(writer)

    def roll_back(self, writer: sqlite3.Connection) -> None:
        """Undo the transaction."""
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
        except sqlite3.Error:
            self.drop_writer()
        finally:
            self._end_use(writer)

    def shrink(self) -> int:
        """Give some free pages back when they are more than a share of the file; gives how many.

        Files of earlier releases keep theirs, and use them again.
        """
        with self.writing() as writer:
            (free,) = writer.execute("PRAGMA freelist_count").fetchone()
            (pages,) = writer.execute("PRAGMA page_count").fetchone()
            excess = min(free - pages // SMALL_SHARE, FREED_PAGES_MAX)
            if excess <= 0:
                return 0
            for _ in range(excess):  # Python takes one step of a statement without columns.
                writer.execute("PRAGMA incremental_vacuum(1)")
            (left,) = writer.execute("PRAGMA page_count").fetchone()
            return int(pages - left)

    def close(self) -> None:
        """Close unused connections now, each other one when its use ends. May be called twice."""
        self._is_closed = True
        self._writer = None
        self._close_unused()

    def size_bytes(self) -> int:
        """The size of the file and its log."""
        log = self.path.with_name(self.path.name + "-wal")
        return sum(os.stat(each).st_size for each in (self.path, log) if each.exists())  # noqa: PTH116 - as short as it gets
