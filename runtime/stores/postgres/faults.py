"""The errors of PostgreSQL as errors of stores.

An error keeps the server's sentence, but not the statement and its values, which do not belong in
logs.
"""

from typing import Final

import psycopg

from callboard.messages.core.errors import CallboardError, InternalError, InvalidMessage
from callboard.messages.storage.errors import (
    StoreDamaged,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
)

__all__ = ["cannot_connect", "error_of", "is_permanent"]

FULL: Final = frozenset({"53100"})  # disk_full
READ_ONLY: Final = frozenset({"25006", "42501"})  # a read-only transaction; no privilege
UNSTORABLE: Final = frozenset({"22021"})  # character_not_in_repertoire
DAMAGED: Final = frozenset({"XX001", "XX002", "58030", "58P01"})  # data, index, I/O, a file
LOCKED: Final = frozenset({"55P03"})  # lock_not_available
GONE: Final = frozenset({"3F000", "42P01", "42703"})  # no schema, table or column of ours
PASSES: Final = ("08", "40", "53", "55", "57")
"""Classes that may pass: connection, conflict, resources, locks, operator's action."""

PERMANENT: Final = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "does not exist",
    "certificate",
)
"""libpq gives no code for a failed connection, only text. In another language than English a
permanent failure is tried again until the time to reconnect is over: slower, but not wrong."""


def error_of(error: psycopg.Error, *, name: str, what: str) -> CallboardError:
    """The store's error for an action that the server refused. Nothing has changed."""
    state = error.sqlstate or ""
    said = f"{name}: {what} failed: {_sentence(error)}"
    details = {"sqlstate": state, "may_have_run": False}
    if state in UNSTORABLE or (isinstance(error, psycopg.DataError) and not state):
        return InvalidMessage(said, advice="Give a text without NUL characters.")
    if state in FULL:
        return StoreFull(
            said,
            advice="Make room on the disk of the database; then the store works again.",
            **details,
        )
    if state in READ_ONLY:
        return StoreReadOnly(
            said,
            advice="Connect to the primary, as a role that owns the schema or may write to it.",
            **details,
        )
    if state in DAMAGED:
        return StoreDamaged(
            said,
            advice="Stop all writers, and restore the database from its backup.",
            **details,
        )
    if state in GONE:
        return StoreDamaged(
            said,
            advice="The tables were changed or dropped. Open the store again, or restore it.",
            **details,
        )
    if state in LOCKED:
        return StoreLocked(
            said,
            advice="Find the holder in pg_locks. Callboard tries again.",
            **details,
        )
    if state.startswith(PASSES):
        return StoreUnavailable(
            said,
            advice="Callboard tries again. If the error persists, read the server's log.",
            **details,
        )
    return InternalError(f"{said} ({type(error).__name__}, {state or 'no SQLSTATE'})")


def cannot_connect(error: psycopg.Error, *, name: str) -> StoreUnavailable:
    """The error for a failed connection, temporary or permanent."""
    return StoreUnavailable(
        f"{name} cannot be reached: {_sentence(error)}",
        advice="Check that the server runs, and the user and the password of the URL."
        if is_permanent(error)
        else "Check that the server runs and takes connections from here.",
        may_have_run=False,
    )


def is_permanent(error: psycopg.Error) -> bool:
    """Whether a failed connection would always fail again."""
    text = str(error)
    return any(part in text for part in PERMANENT)


def _sentence(error: psycopg.Error) -> str:
    primary = error.diag.message_primary
    text = primary or " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith(".") else f"{text}."
