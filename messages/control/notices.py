"""Notifications that actors subscribe to: exits, offers and names.

They are ordinary contracts: an actor handles them, keeps them and passes them on. They
enter its mailbox even when that is full. While the actor lives, each notification arrives
exactly once; the docstring of each says which messages it may overtake.
"""

from typing import Any

from ..core.contract import Contract
from ..core.ref import Ref
from .lifecycle import ExitReason

__all__ = ["Down", "Exited", "NameChanged", "Offers"]


class Down(Contract, name="callboard.down"):
    """A watched actor has ended (one incarnation of it), or a watched host.

    Each watch gives one `Down` and is over then. It may arrive before messages that the
    watched actor sent and that still wait on their way.
    """

    ref: Ref[Any]
    """The watched actor. It may answer again: see `comes_back`."""
    kind: ExitReason
    """Why it ended: `NO_ACTOR` if there was no actor, `HOST_LOST` if its process died."""
    detail: dict[str, Any]
    """The error as data (`message`, and under `details` a `remote_traceback`), or empty."""
    comes_back: bool | None = None
    """Whether its supervisor restarts it; None when this is not known here."""


class Exited(Contract, name="callboard.exited"):
    """A linked actor has ended; only an actor with `trap_exits` gets this, and lives on."""

    ref: Ref[Any]
    """The actor that has ended."""
    kind: ExitReason
    """Why it ended."""
    detail: dict[str, Any]
    """Details of its end, usually an error as data."""


class Offers(Contract, name="callboard.offers"):
    """The actors that offer a contract now. A newer one replaces one that still waits."""

    contract: str
    """The contract's name."""
    refs: tuple[Ref[Any], ...]
    """In the order in which they began to offer it; a host's part of a pool is one entry."""
    version: int
    """The version of the directory; a larger one is newer, on any host."""


class NameChanged(Contract, name="callboard.name_changed"):
    """The actor that has a name now. A newer one replaces one that still waits."""

    name: str
    """The name."""
    ref: Ref[Any] | None
    """None while no actor has the name."""
    version: int
    """The version of the directory that has this change."""
