"""A snapshot of configuration: what `ctx.config` shows to the handler of one message."""

from dataclasses import dataclass
from typing import Any, final

__all__ = ["Snapshot"]


@final
@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of one component, immutable; all actors of a host share it.

    A handler has the snapshot that its message was begun with, whatever comes meanwhile.
    """

    component: str
    """The component that the actor is bound to."""
    version: str
    """The SHA-256 of its content, in hexadecimal digits."""
    settings: Any
    """The content: of the class that the actor names, or else mappings, tuples and plain values of
    JSON, or the text if it is no JSON."""
