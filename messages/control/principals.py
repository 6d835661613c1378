"""Who acts: the principal behind a request that comes through a socket or over HTTP."""

from collections.abc import Collection
from enum import StrEnum, auto
from fnmatch import fnmatchcase
from typing import Final

from pydantic import Field

from ..core.contract import Contract
from .filters import ChannelRule, StreamFilter

__all__ = ["ALL_SCOPES", "LOCAL", "LOCAL_PREFIX", "Principal", "Scope"]

LOCAL_PREFIX: Final = "local:"
"""The begin of the subject of a user of this machine. No token may have such a subject."""


class Scope(StrEnum):
    """What a principal may do."""

    READ = auto()
    """Query the system, its executions, metrics, alerts, letters and pipelines."""
    SUBMIT = auto()
    """Submit requests of jobs."""
    STEER = auto()
    """Cancel, resume and fork executions, and replay and discard letters."""
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
    subscribes: tuple[str, ...] = ()
    """Channels to which the hub subscribes its clients when they connect, if it may see them."""
    rules: tuple[ChannelRule, ...] = ()
    """What it may see of channels; all rules that cover a channel must hold."""
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

    def conditions(self, channel: str) -> tuple[StreamFilter, ...]:
        """What the events of the channel must fulfil, so that it may see them."""
        return tuple(rule.filter for rule in self.rules if rule.covers(channel))

    def lacks(
        self, scopes: Collection[Scope], channels: Collection[str], publishes: Collection[str]
    ) -> list[str]:
        """What of these it does not have itself, so that it may not give it to another one."""
        lacking = [str(scope) for scope in scopes if not self.may(scope)]
        for wanted, own in ((channels, self.channels), (publishes, self.publishes)):
            lacking += [text for text in wanted if not any(_covers(each, text) for each in own)]
        return sorted(set(lacking))

    def may_publish(self, channel: str) -> bool:
        """Whether it has the scope `publish` and a pattern that covers the channel."""
        covered = any(fnmatchcase(channel, pattern) for pattern in self.publishes)
        return covered and self.may(Scope.PUBLISH)


LOCAL: Final = Principal(
    subject=f"{LOCAL_PREFIX}unknown",
    way="socket",
    scopes=ALL_SCOPES,
    channels=("*",),
    publishes=("*",),
)
"""The user of this machine, who owns the process: every scope, every channel."""


def _covers(own: str, wanted: str) -> bool:
    """Whether a pattern covers all that another one does, as far as their texts show it."""
    begin, star, rest = own.partition("*")
    is_begin = bool(star) and not rest and not set("?[") & set(begin)
    return own == wanted or (is_begin and wanted.startswith(begin))
