"""Why a supervised child ended: a closed vocabulary, and plain data with the details.

Actors, hosts and supervisors share these reasons, so one supervisor core handles all of
them. Only `ExitReason` decides what happens next; `detail` is for people and logs.

Invariant: NORMAL and SHUTDOWN are the only normal exits.
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
    """Why a child ended."""

    NORMAL = "normal"
    """The child finished its work."""

    SHUTDOWN = "shutdown"
    """The child stopped on request, or with its supervisor."""

    KILLED = "killed"
    """The child was killed: its stop timeout passed, or its process was killed."""

    FAILED = "failed"
    """The child raised an exception; `detail` holds the error as data."""

    HOST_LOST = "host_lost"
    """The child's process died or cannot be reached."""

    START_FAILED = "start_failed"
    """The child never ran: its constructor, its start hook or its placement failed."""

    NO_ACTOR = "no_actor"
    """There is no actor to watch or to link to. Only a watcher or a linked actor gets this."""

    @property
    def is_abnormal(self) -> bool:
        """Whether a transient child is restarted after this exit."""
        return self is not ExitReason.NORMAL and self is not ExitReason.SHUTDOWN


@final
@dataclass(frozen=True, slots=True)
class Exit:
    """One exit of a child: its reason, and plain data (usually an error's) with the details."""

    kind: ExitReason
    """The reason."""
    # Left out of the hash, because a mapping has none; equality still compares it.
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The details, as plain data."""

    @property
    def is_abnormal(self) -> bool:
        """Whether the exit is a failure, after which a transient child is restarted."""
        return self.kind.is_abnormal

    @classmethod
    def of_error(cls, kind: ExitReason, error: CallboardError) -> Self:
        """The exit that `error` caused."""
        return cls(kind, error.to_data())

    def to_data(self) -> dict[str, Any]:
        """This exit as plain data that any codec can encode."""
        return {"kind": self.kind.value, "detail": dict(self.detail)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The exit that `data` describes.

        Raises `SpecError` when its kind is not one of `ExitReason`.
        """
        try:
            kind = ExitReason(str(data.get("kind")))
        except ValueError:
            raise SpecError(
                f"Exit.kind is {data.get('kind')!r}, which is no reason of an exit.",
                advice=f"Use one of {', '.join(ExitReason)}.",
                field="Exit.kind",
            ) from None
        return cls(kind, dict(data.get("detail") or {}))


ENDED_NORMALLY: Final = Exit(ExitReason.NORMAL)
"""Shared by all normal exits, the most frequent ones of a busy host."""

SHUT_DOWN: Final = Exit(ExitReason.SHUTDOWN)
"""Shared by all stops on request."""
