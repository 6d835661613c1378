"""The dead letter: what is said of a message that reached nobody."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from ..core.contract import Contract

__all__ = ["Attempt", "DeadLetter"]

_FROZEN: Final = ConfigDict(frozen=True, extra="forbid")


class Attempt(BaseModel):
    """One time that a message was handled and crashed its actor."""

    model_config = _FROZEN

    incarnation: int
    """Which incarnation of the actor it was, from 1 on."""
    host: str
    """Where."""
    error_type: str
    text: str
    traceback: str
    """Its end, when it is long."""


class DeadLetter(Contract, name="callboard.dead_letter"):
    """One message that was not handled. The message itself is not kept: it may be large."""

    reason: str
    """no_actor, actor_stopped, no_handler, mailbox_full, handler_failed, expired, undecodable,
    restarted, poison, activation_failed, refused."""
    target: str
    """The path or address it was for."""
    contract: str
    """Its contract's name; empty when that could not be read."""
    host: str
    """The host it died on."""
    error: dict[str, Any] | None = None
    """The error that says why, as data."""
    attempts: tuple[Attempt, ...] = ()
    """Each attempt to handle it, of a message that was poison."""
