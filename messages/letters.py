"""The dead letter: what is said of a message that reached nobody."""

from typing import Any

from .contract import Contract

__all__ = ["DeadLetter"]


class DeadLetter(Contract, name="callboard.dead_letter"):
    """One message that was not handled. The message itself is not kept: it may be large."""

    reason: str
    """no_actor, actor_stopped, no_handler, mailbox_full, handler_failed, expired, undecodable."""
    target: str
    """The path or address it was for."""
    contract: str
    """Its contract's name; empty when that could not be read."""
    host: str
    """The host it died on."""
    error: dict[str, Any] | None = None
    """The error that says why, as data."""
