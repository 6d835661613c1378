"""The errors of stores, grouped by who must act. `core/errors.py` has their base classes."""

import errno
from enum import StrEnum, auto
from typing import Final

from ..core.errors import CallboardError, StoreFailed

__all__ = [
    "CommitUnknown",
    "EventIdReused",
    "EventTooLarge",
    "ResultLost",
    "StoreDamaged",
    "StoreFault",
    "StoreFull",
    "StoreLocked",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreTooOld",
    "StoreUnavailable",
    "TransitionRefused",
    "UnknownEvent",
    "WriterFenced",
    "WrongExpectedVersion",
    "fault_of",
    "of_file",
]


# --- the appending code must act -----------------------------------------------------


class WrongExpectedVersion(CallboardError):
    """The stream does not have the expected version: another append came first."""

    code = "wrong_expected_version"


class EventIdReused(CallboardError):
    """An event id of the append belongs to another event, or to another append."""

    code = "event_id_reused"


class EventTooLarge(CallboardError):
    """An event exceeds the limit that the message names."""

    code = "event_too_large"


class TransitionRefused(CallboardError):
    """The table of transitions does not allow this change of a state's status."""

    code = "transition_refused"


class UnknownEvent(CallboardError):
    """The reader does not know this kind or version of event, and its policy is to stop."""

    code = "unknown_event"


# --- the writer must act ---------------------------------------------------------------


class WriterFenced(StoreFailed):
    """A newer writer has taken over, the log or the key of an actor: this one must end."""

    code = "writer_fenced"


class CommitUnknown(StoreFailed):
    """The connection broke during a commit, which may have happened.

    Append the same events again: their ids prevent a repetition.
    """

    code = "commit_unknown"


# --- the operator must act -------------------------------------------------------------


class StoreUnavailable(StoreFailed):
    """The store cannot be reached, or does not answer in time."""

    code = "store_unavailable"


class StoreLocked(StoreUnavailable):
    """Another process holds the store's lock for too long."""

    code = "store_locked"


class ResultLost(StoreFailed):
    """A result that was stored as a blob cannot be read."""

    code = "result_lost"


class StoreFull(StoreFailed):
    """The store has no room left."""

    code = "store_full"


class StoreReadOnly(StoreFailed):
    """The store cannot be written."""

    code = "store_read_only"


class StoreDamaged(StoreFailed):
    """The store does not return what was written."""

    code = "store_damaged"


class StoreTooOld(StoreFailed):
    """An earlier release made the store: `advice` names the command that upgrades it."""

    code = "store_too_old"


class StoreTooNew(StoreFailed):
    """A later release made the store: this release does not touch it."""

    code = "store_too_new"


# --- the kinds of faults in metrics ----------------------------------------------------


class StoreFault(StrEnum):
    """The kinds of faults that metrics count; a closed vocabulary."""

    FULL = auto()
    READ_ONLY = auto()
    LOCKED = auto()
    UNREACHABLE = auto()
    """The file or the server does not exist or answer, or the connection is lost."""
    COMMIT_UNKNOWN = auto()
    """The outcome of a commit was lost, with the connection or on the disk."""
    FENCED = auto()
    DAMAGED = auto()
    OTHER = auto()


_FAULTS: Final = (
    (StoreFull, StoreFault.FULL),
    (StoreReadOnly, StoreFault.READ_ONLY),
    (StoreLocked, StoreFault.LOCKED),
    (StoreUnavailable, StoreFault.UNREACHABLE),
    (CommitUnknown, StoreFault.COMMIT_UNKNOWN),
    (WriterFenced, StoreFault.FENCED),
    (StoreDamaged, StoreFault.DAMAGED),
)
"""The first match counts: `StoreLocked` is a subclass of `StoreUnavailable`."""


def fault_of(error: BaseException) -> StoreFault:
    """The kind of fault that metrics count for a failure of a store."""
    for cls, fault in _FAULTS:
        if isinstance(error, cls):
            return fault
    return StoreFault.OTHER


# --- the faults of files ---------------------------------------------------------------

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def of_file(store: str, error: OSError) -> StoreFailed:
    """The error of a store whose things are files; `store` is its name, for people."""
    text = f"{store}: {error.strerror or error} ({type(error).__name__})."
    if error.errno in _FULL:
        advice = "Make room on the disk; nothing was changed."
        return StoreFull(text, advice=advice, may_have_run=False)
    if error.errno in _READ_ONLY:
        advice = "Make the folder writable, or name another."
        return StoreReadOnly(text, advice=advice, may_have_run=False)
    return StoreUnavailable(text, advice="Check that the folder and its disk exist.")
