"""The errors of SQLite as errors of stores, with advice."""

import contextlib
import resource
import sqlite3
from collections.abc import Iterator

from callboard.messages.core.errors import CallboardError, StoreFailed
from callboard.messages.storage.errors import (
    CommitUnknown,
    StoreDamaged,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
)

from ..rules import unstorable

__all__ = ["fault_of", "translate_errors"]


def fault_of(name: str, error: sqlite3.Error, *, committing: bool = False) -> CallboardError:
    """The store's error. `committing` says that the transaction may have been committed."""
    code = getattr(error, "sqlite_errorname", "") or ""
    text = f"{name}: {error} ({code or type(error).__name__})."
    failed: StoreFailed
    if code == "SQLITE_IOERR_FSYNC" and committing:
        failed = CommitUnknown(text, advice="Append the same events again.", may_have_run=True)
    else:
        what, advice = _what(name, code)
        failed = what(text, advice=advice, may_have_run=False)
    failed.__cause__ = error
    return failed


def _what(name: str, code: str) -> tuple[type[StoreFailed], str]:
    kind = code.removeprefix("SQLITE_").split("_")[0]
    if kind == "FULL" or (code == "SQLITE_IOERR_WRITE" and _is_limited()):
        return StoreFull, "Make room on the disk; nothing was changed."
    if kind in ("READONLY", "PERM", "AUTH"):
        return StoreReadOnly, "Make the file and its folder writable, or name another file."
    if kind in ("CORRUPT", "NOTADB"):
        path = name.removeprefix("sqlite ")
        return StoreDamaged, (f"Keep a copy, run `callboard store check {path}`, restore a backup.")
    if kind in ("BUSY", "LOCKED"):
        return (
            StoreLocked,
            "Another process holds the lock. `fuser` shows which processes have the file open.",
        )
    return StoreUnavailable, "Check that the file, its folder and the disk exist."


@contextlib.contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Raise errors of SQLite as errors of stores."""
    try:
        yield
    except sqlite3.Error as error:
        raise fault_of(name, error) from error
    except UnicodeEncodeError as error:
        raise unstorable(name, error.object) from error


def _is_limited() -> bool:
    """Whether this process has a limit on file sizes. SQLite itself only reports "I/O"."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return soft != resource.RLIM_INFINITY
