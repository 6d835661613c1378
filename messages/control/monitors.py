"""What hosts tell each other about watches and links: never seen by actors.

Each tie has two ends. It is named by the slot of the host where it was made and a number
that this incarnation of the host uses once.
"""

from typing import Any

from ..core.contract import Contract

__all__ = ["MonitorDropped", "MonitorEnded", "MonitorRequested"]


class MonitorRequested(Contract, name="callboard.tie_requested"):
    """An actor of another host watches an actor here, or is linked to it from now on."""

    slot: int
    epoch: int
    """The incarnation of the host that asks: what a dead one had asked for is void."""
    number: int
    cell: int
    """What is watched or linked to."""
    asker: int
    """The cell that asks."""
    is_link: bool


class MonitorEnded(Contract, name="callboard.tie_ended"):
    """The actor at the sender's end has ended."""

    slot: int
    number: int
    to_asker: bool
    """Whether this goes to the end that asked for the tie."""
    kind: str
    detail: dict[str, Any]
    comes_back: bool | None = None


class MonitorDropped(Contract, name="callboard.tie_dropped"):
    """The sender's end is not interested any more."""

    slot: int
    number: int
    to_asker: bool
