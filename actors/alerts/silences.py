"""Silences: alerts that nobody is notified of for a while."""

from dataclasses import dataclass
from typing import Final

from callboard.messages.core.errors import UsageError
from callboard.messages.core.names import check_name

from ..metrics.series import Matcher
from .matching import MATCHERS_MAX

__all__ = ["SILENCES_MAX", "Silence"]

SILENCES_MAX: Final = 1_000
KEPT_NS: Final = 5 * 86_400 * 1_000_000_000
"""How long a silence that is over is still shown."""
COMMENT_CHARACTERS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Alerts that fulfil all matchers are not notified from one moment until another."""

    id: str
    matchers: tuple[Matcher, ...]
    from_ns: int
    until_ns: int
    author: str
    comment: str

    def __post_init__(self) -> None:
        check_name("the id of a silence is", self.id, error=UsageError)
        check_name("the author of a silence is", self.author, error=UsageError)
        if not 1 <= len(self.matchers) <= MATCHERS_MAX:
            raise UsageError(
                f"a silence has {len(self.matchers)} matchers.",
                advice=f"Give 1 to {MATCHERS_MAX}: none would silence every alert.",
            )
        if not self.from_ns < self.until_ns:
            raise UsageError("a silence ends before it begins.", advice="Give a later end.")
        if len(self.comment) > COMMENT_CHARACTERS_MAX:
            raise UsageError(
                f"the comment has {len(self.comment):,} characters.",
                advice=f"Use at most {COMMENT_CHARACTERS_MAX:,}.",
            )

    def is_active(self, now_ns: int) -> bool:
        """Whether it silences alerts now."""
        return self.from_ns <= now_ns < self.until_ns

    def is_forgotten(self, now_ns: int) -> bool:
        """Whether it is over for so long that nobody wants to see it."""
        return now_ns >= self.until_ns + KEPT_NS
