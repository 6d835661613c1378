"""The errors of stores, by who must act. Those of keyed actors' stores stand in `errors.py`."""

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
]


# --- who appends must act ------------------------------------------------------------


class WrongExpectedVersion(CallboardError):
    """The stream has another version than was expected: somebody else has appended."""

    code = "wrong_expected_version"


class EventIdReused(CallboardError):
    """An id of the append belongs to another event, or to another append."""

    code = "event_id_reused"


class EventTooLarge(CallboardError):
    """An event, or what must be journalled, is over the limit that is named."""

    code = "event_too_large"


class TransitionRefused(CallboardError):
    """The table of transitions does not allow the step."""

    code = "transition_refused"


class UnknownEvent(CallboardError):
    """Nobody here knows this kind of event, and the policy is to stop."""

    code = "unknown_event"


# --- the writer must act ---------------------------------------------------------------


class WriterFenced(StoreFailed):
    """Another writer has taken the log over: this one must end."""

    code = "writer_fenced"


class CommitUnknown(StoreFailed):
    """The connection broke in a commit: it may have happened. Append the same events again."""

    code = "commit_unknown"


# --- the operator must act -------------------------------------------------------------


class StoreUnavailable(StoreFailed):
    """The store cannot be reached, or others hold its lock for too long."""

    code = "store_unavailable"


class StoreLocked(StoreUnavailable):
    """Another process has held its lock for too long."""

    code = "store_locked"


class ResultLost(StoreFailed):
    """A result that was stored beside the journal cannot be read."""

    code = "result_lost"


class StoreFull(StoreFailed):
    """There is no room left."""

    code = "store_full"


class StoreReadOnly(StoreFailed):
    """The store cannot be written."""

    code = "store_read_only"


class StoreDamaged(StoreFailed):
    """What is read is not what was written."""

    code = "store_damaged"


class StoreTooOld(StoreFailed):
    """An earlier release made it: the command that brings it forward is named."""

    code = "store_too_old"


class StoreTooNew(StoreFailed):
    """A later release made it: this one does not touch it."""

    code = "store_too_new"


# --- what is counted -------------------------------------------------------------------


class StoreFault(StrEnum):
    """The kinds of faults that are counted; a closed vocabulary, for metrics."""

    FULL = auto()
    READ_ONLY = auto()
    LOCKED = auto()
    UNREACHABLE = auto()
    """The file or the server is not there, or the connection is lost."""
    COMMIT_UNKNOWN = auto()
    """The connection, or the disk's last word, was lost in a commit."""
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
"""Looked at from the first on: a lock is a kind of being unavailable."""


def fault_of(error: BaseException) -> StoreFault:
    """The kind that a store's failure is counted as."""
    for cls, fault in _FAULTS:
        if isinstance(error, cls):
            return fault
    return StoreFault.OTHER
