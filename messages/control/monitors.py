"""The messages between hosts about monitors and links. Actors never see them.

A monitor or link has two ends. Its id is the slot of the host that made it, and a number
that this incarnation of the host uses once.
"""

from typing import Any

from ..core.contract import Contract

__all__ = ["MonitorDropped", "MonitorEnded", "MonitorRequested"]


class MonitorRequested(Contract, name="callboard.monitor_requested"):
    """An actor of another host begins to watch an actor here, or links itself to it."""

    slot: int
    epoch: int
    """The incarnation of the asking host: requests of a dead incarnation are void."""
    number: int
    cell: int
    """The cell of the watched or linked actor."""
    asker: int
    """The cell of the watching or linking actor."""
    is_link: bool


class MonitorEnded(Contract, name="callboard.monitor_ended"):
    """The actor at the sender's end has ended."""

    slot: int
    number: int
    to_asker: bool
    """Whether the receiver is the end that made the monitor or link."""
    kind: str
    detail: dict[str, Any]
    comes_back: bool | None = None


class MonitorDropped(Contract, name="callboard.monitor_dropped"):
    """The actor at the sender's end has ended its monitor or link."""

    slot: int
    number: int
    to_asker: bool
    """See `MonitorEnded.to_asker`."""
