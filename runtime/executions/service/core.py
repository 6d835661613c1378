"""Who owns an execution of a detached system, and what becomes of it. Pure.

| state | what holds it | it leaves that state when |
|---|---|---|
| wished | the driver alone | the system's ledger has it: `TakeExecution` is answered then |
| kept | the ledger | its execution service has opened the journal and begun it |
| running | the service that has the journal | its end is in the journal, or what follows |
| waiting | the ledger; the journal cannot be written | the pause is over: it is begun again |
| given up | the journal | somebody takes it again: it went on elsewhere, or cannot go on |
| over | the journal | never |

An execution service that dies, with its host or with everything else, leaves its executions kept:
the next one begins them again. There is one owner, because the system has one execution service,
and the journal takes events of one writer only.
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
"""How long an execution waits after tries in a row that have failed."""


class LedgerEntry(NamedTuple):
    """What the system's ledger has of an execution that has not ended."""

    id: str
    job: str
    code: bytes
    token: str
    """Of the wish by which it came: a driver that asks again means the same one."""
    driver: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """As the ledger keeps it."""
        packed: bytes = msgpack.packb(tuple(self))
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What was kept."""
        return cls(*msgpack.unpackb(data))


class Next(Enum):
    """What becomes of an execution that its execution service does not run any more."""

    FORGET = auto()
    """It is over, and the journal says so."""
    TRY_AGAIN = auto()
    """The journal could not be reached; what it has is what the next try begins from."""
    GIVE_UP = auto()
    """Another owner goes on with it, or nobody can."""


def what_follows(error: BaseException | None, *, is_journalled: bool) -> Next:
    """What becomes of an execution that has ended here with `error`, if any.

    `is_journalled` says whether its end is durable.
    """
    if is_journalled:
        return Next.FORGET
    match error:
        case WriterFenced():
            return Next.GIVE_UP  # To take the journal back would be a war of two owners.
        case StoreFailed() | Cancelled():
            return Next.TRY_AGAIN  # Cancelled, and not by a wish: its process is ending.
        case CallboardError() | BaseException() | None:
            return Next.GIVE_UP
