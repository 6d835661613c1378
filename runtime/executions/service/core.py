"""The ownership of an execution in a detached system, and its states. Pure.

| state | holder | the execution leaves this state when |
|---|---|---|
| requested | the driver alone | the system's ledger has it; then `TakeExecution` is answered |
| accepted | the ledger | the execution service has opened the journal and started it |
| running | the service that has the journal | it is over, waits or is given up |
| waiting | the ledger; the journal cannot be written | the pause is over, and it starts again |
| given up | the journal | a driver resumes it: it continued elsewhere, or cannot continue |
| over | the journal | never |

When an execution service dies, the ledger still has its executions, and the next service starts
them again. An execution has one owner, because the system has one execution service and the journal
accepts events of one writer only.

A writer that another one has fenced gives its executions up, and leaves the ledger as it is: its
successor needs the entries.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple, Self

import msgpack

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import CallboardError, Cancelled, StoreFailed
from callboard.messages.storage.errors import WriterFenced

__all__ = ["PAUSE", "LedgerEntry", "Next", "what_follows"]

PAUSE: Final = Backoff(min_s=0.2, max_s=30.0)
"""The pause of an execution after failed starts in a row."""


class LedgerEntry(NamedTuple):
    """The entry of an execution that has not ended in the system's ledger."""

    id: str
    job: str
    code: bytes
    token: str
    """The token of its request: a repeated request has the same one."""
    driver: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Encode the entry for the ledger."""
        packed: bytes = msgpack.packb(tuple(self))
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode an entry."""
        return cls(*msgpack.unpackb(data))


class Next(Enum):
    """The next step for an execution that has stopped running in its execution service."""

    FORGET = auto()
    """It is over, and its end is in the journal."""
    TRY_AGAIN = auto()
    """The journal could not be written; the next start continues from its last event."""
    GIVE_UP = auto()
    """Another owner continues it, or it cannot continue."""


def what_follows(error: BaseException | None, *, is_journalled: bool) -> Next:
    """The next step for an execution that has stopped with `error`, or with None.

    `is_journalled` says whether its end is durable.
    """
    if is_journalled:
        return Next.FORGET
    match error:
        case WriterFenced():
            return Next.GIVE_UP  # Two owners must not fence each other in turn.
        case StoreFailed() | Cancelled():
            return Next.TRY_AGAIN  # Cancelled without a command: its process is ending.
        case CallboardError() | BaseException() | None:
            return Next.GIVE_UP
