"""The dead letter: the report on a message that no handler completed."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from ..core.contract import Contract

__all__ = ["Attempt", "DeadLetter"]

_FROZEN: Final = ConfigDict(frozen=True, extra="forbid")


class Attempt(BaseModel):
    """One attempt to handle a message that crashed its actor."""

    model_config = _FROZEN

    incarnation: int
    """The incarnation of the actor, from 1."""
    host: str
    """The actor's host."""
    error_type: str
    text: str
    traceback: str
    """The end of the traceback, when it is long."""


class DeadLetter(Contract, name="callboard.dead_letter"):
    """A message that was not handled. The message itself is not kept: it may be large."""

    reason: str
    """no_actor, actor_stopped, no_handler, mailbox_full, handler_failed, undecodable, not_sent,
    restarted, poison, activation_failed, refused."""
    target: str
    """The path or address of the receiver."""
    contract: str
    """The name of the message's contract; empty when it could not be read."""
    host: str
    """The host that reports it."""
    error: dict[str, Any] | None = None
    """The cause, as `CallboardError.to_data` gives it."""
    attempts: tuple[Attempt, ...] = ()
    """The attempts to handle a message of the reason `poison`, the first one first."""
