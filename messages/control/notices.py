"""What the system tells an actor that has asked to be told: deaths, and who is there.

These are contracts like any others, so an actor takes them with a handler, keeps them
and passes them on. They are put into its mailbox even when that is full, and none is
ever lost or told twice while the actor lives; what each may overtake stands with it.
"""

from typing import Any

from ..core.contract import Contract
from ..core.ref import Ref
from .lifecycle import ExitReason

__all__ = ["Down", "Exited", "NameChanged", "Offers"]


class Down(Contract, name="callboard.down"):
    """What was watched has ended: one incarnation of an actor, or a host.

    One for each watch, which is over then. It may arrive before messages that the actor
    had sent and that still wait on their way.
    """

    ref: Ref[Any]
    """What was watched. It may answer again: see `comes_back`."""
    kind: ExitReason
    """`NO_ACTOR` when there was nothing to watch, `HOST_LOST` when its process is gone."""
    detail: dict[str, Any]
    """The error as data (`message`, and under `details` a `remote_traceback`), or nothing."""
    comes_back: bool | None = None
    """Whether its supervisor starts it again; None when that is not known here."""


class Exited(Contract, name="callboard.exited"):
    """The other side of a link has ended: for an actor with `trap_exits`, which lives on."""

    ref: Ref[Any]
    kind: ExitReason
    detail: dict[str, Any]


class Offers(Contract, name="callboard.offers"):
    """Who offers a contract now. The newest only: one that waits is replaced by the next."""

    contract: str
    """The contract's name."""
    refs: tuple[Ref[Any], ...]
    """In the order in which they began to offer it; a part of a pool is one of them."""
    version: int
    """The directory's; a larger one is newer, on any host."""


class NameChanged(Contract, name="callboard.name_changed"):
    """Who has a name now. The newest only, as with `Offers`."""

    name: str
    ref: Ref[Any] | None
    """None while nobody has it."""
    version: int
