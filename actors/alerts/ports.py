"""Ports of alerts: how a receiver is reached, and what is asked of the metrics besides values."""

from typing import Protocol, runtime_checkable

from callboard.messages.core.errors import CallboardError

from .grouping import Notification

__all__ = ["Closes", "KnowsMissing", "Target", "Undelivered"]


class Undelivered(CallboardError):
    """A receiver did not take a notification.

    `details["is_final"]` says that another attempt is of no use: the receiver has refused it.
    """

    code = "undelivered"

    @property
    def is_final(self) -> bool:
        """Whether another attempt is of no use."""
        return bool(self.details.get("is_final", False))


class Target(Protocol):
    """Delivers notifications to one receiver. Several calls may run at once."""

    async def deliver(self, notification: Notification) -> None:
        """Deliver one. Raises `Undelivered`. The caller bounds the time, and tries again."""


@runtime_checkable
class KnowsMissing(Protocol):
    """An evaluator that can say which metrics do not exist."""

    async def missing(self, expression: str, at_ns: int) -> tuple[str, ...]:
        """The metrics that an expression names and that have no series around this moment."""


@runtime_checkable
class Closes(Protocol):
    """An evaluator that has something to release."""

    async def close(self) -> None:
        """Release it; nothing is evaluated any more."""
