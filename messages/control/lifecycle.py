"""How a supervised child ended: a closed vocabulary, and plain data to tell why.

An actor, a host and a whole supervisor end in the same words, so one supervisor core
can judge them alike. Only `ExitReason` decides what happens next; `detail` is for
people and logs, and no decision may depend on it.

Invariant: NORMAL and SHUTDOWN are the only ends that nobody needs to repair.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Any, Final, Self, final

from ..core.errors import CallboardError, SpecError

__all__ = ["ENDED_NORMALLY", "SHUT_DOWN", "Exit", "ExitReason"]


@final
@unique
class ExitReason(StrEnum):
    """Why a child is no more."""

    NORMAL = "normal"
    """It finished what it was for."""

    SHUTDOWN = "shutdown"
    """It was asked to stop and did, or a supervisor gave up in good order."""

    KILLED = "killed"
    """It was ended by force: its stop timeout passed, or somebody killed its process."""

    FAILED = "failed"
    """It raised; `detail` holds the error's data."""

    HOST_LOST = "host_lost"
    """The process it lived in died or cannot be reached."""

    START_FAILED = "start_failed"
    """It never ran: its constructor, its start hook or its placement failed."""

    NO_ACTOR = "no_actor"
    """There was none to watch or to link to. Only a watcher or a partner sees this one."""

    @property
    def is_abnormal(self) -> bool:
        """Whether a transient child with this end is restarted."""
        return self is not ExitReason.NORMAL and self is not ExitReason.SHUTDOWN


@final
@dataclass(frozen=True, slots=True)
class Exit:
    """One end of one child: what kind, and plain data (an error's, mostly) that tells why."""

    kind: ExitReason
    # Left out of the hash, because a mapping has none; equality still compares it.
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_abnormal(self) -> bool:
        """Whether somebody should look at it, and a transient child is restarted."""
        return self.kind.is_abnormal

    @classmethod
    def of_error(cls, kind: ExitReason, error: CallboardError) -> Self:
        """The end that `error` caused, as data that crosses hosts."""
        return cls(kind, error.to_data())

    def to_data(self) -> dict[str, Any]:
        """This end as plain data that any codec can carry."""
        return {"kind": self.kind.value, "detail": dict(self.detail)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The end that `data` describes.

        Raises SpecError when its kind is not one of `ExitReason`.
        """
        try:
            kind = ExitReason(str(data.get("kind")))
        except ValueError:
            raise SpecError(
                f"Exit.kind: {data.get('kind')!r} is no kind of exit.",
                advice=f"Use one of {', '.join(ExitReason)}.",
                field="Exit.kind",
            ) from None
        return cls(kind, dict(data.get("detail") or {}))


ENDED_NORMALLY: Final = Exit(ExitReason.NORMAL)
"""Shared, because most children of a busy host end like this."""

SHUT_DOWN: Final = Exit(ExitReason.SHUTDOWN)
"""Shared: the reason of every ordered stop."""
