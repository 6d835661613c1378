"""Who acts: the principal behind a request that comes through a socket or over HTTP."""

from enum import StrEnum, auto
from fnmatch import fnmatchcase
from typing import Final

from pydantic import Field

from ..core.contract import Contract

__all__ = ["ALL_SCOPES", "LOCAL", "Principal", "Scope"]


class Scope(StrEnum):
    """What a principal may do."""

    READ = auto()
    """Query the system, its executions, metrics, alerts, letters and pipelines."""
    SUBMIT = auto()
    """Submit requests of jobs."""
    STEER = auto()
    """Cancel, resume and fork executions, and replay letters."""
    APPROVE = auto()
    """Decide approvals."""
    PUBLISH = auto()
    """Send events in, and publish to the channels that its patterns cover."""
    ALERTS = auto()
    """Add and end silences."""
    ADMIN = auto()
    """Create and revoke tokens, open the page for others, and change the rules of alerts."""


ALL_SCOPES: Final = tuple(Scope)


class Principal(Contract, name="callboard.principal"):
    """A person or a program that has proved who it is."""

    subject: str
    """Its name: `local:` and the name of a user of this machine, or the subject of a token."""
    way: str
    """The adapter that it came through: `socket`, `http`, `ray`."""
    scopes: tuple[Scope, ...] = ()
    """What it may do."""
    channels: tuple[str, ...] = ()
    """Patterns of the channels that it may subscribe to, in the form of `fnmatch`, by case."""
    publishes: tuple[str, ...] = ()
    """Patterns of the channels that it may publish to, with the scope `publish`."""
    token: str = ""
    """The id of its token, which a revocation names; empty without one. It is no secret."""
    expires_at: float = Field(default=0.0, ge=0.0)
    """When its token ends, in seconds since 1970; 0 for never."""

    def may(self, scope: Scope) -> bool:
        """Whether it has the scope."""
        return scope in self.scopes

    def may_subscribe(self, channel: str) -> bool:
        """Whether one of its patterns covers the channel."""
        return any(fnmatchcase(channel, pattern) for pattern in self.channels)

    def may_publish(self, channel: str) -> bool:
        """Whether it has the scope `publish` and a pattern that covers the channel."""
        covered = any(fnmatchcase(channel, pattern) for pattern in self.publishes)
        return covered and self.may(Scope.PUBLISH)


LOCAL: Final = Principal(
    subject="local:unknown", way="socket", scopes=ALL_SCOPES, channels=("*",), publishes=("*",)
)
"""The user of this machine, who owns the process: every scope, every channel."""
