"""What the core of roll-outs asks its shell for, and what the shell brings back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Answers", "AskAgreement", "BackUp", "Effect", "SendOffers", "Validate"]


@dataclass(frozen=True, slots=True)
class Validate:
    """Validate a package, and say `validated`."""

    rollout: str


@dataclass(frozen=True, slots=True)
class AskAgreement:
    """Ask another principal than the author, and say `approve` or `abort`."""

    rollout: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackUp:
    """Store the versions that the targets have now, and say `backed_up`."""

    rollout: str


@dataclass(frozen=True, slots=True)
class SendOffers:
    """Send an offer to its targets that have not answered, and say `answered`."""

    nonce: int


Effect: TypeAlias = Validate | AskAgreement | BackUp | SendOffers


@dataclass(frozen=True, slots=True)
class Answers:
    """What targets have said to one offer."""

    acked: Sequence[str] = ()
    draining: Sequence[str] = ()
    nacked: Sequence[tuple[str, str, str | None]] = ()
    """Names, reasons, and the versions that stay active."""
    timed_out: Sequence[str] = ()
    unreachable: Sequence[str] = ()
