"""A driver's requests to the root: start actors, stop them, subscribe to dead letters.

The root may run in another process than the driver. Actor classes therefore travel as
bytes that the root passes on and never reads: it needs none of the user's code.
"""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from ..core.contract import Contract, Request
from ..core.ref import Ref

__all__ = [
    "AllDeadLettersSubscribed",
    "Offer",
    "PartSize",
    "ResizePool",
    "ResizedPool",
    "Spawn",
    "SpawnPart",
    "Spawned",
    "StopActor",
    "StoppedActor",
    "SubscribeAllDeadLetters",
]

_FROZEN: Final = ConfigDict(frozen=True, extra="forbid")


class Offer(BaseModel):
    """Publish one of the new actors: by the contracts it handles, or by a name.

    The actor's cell is the first cell of part `part`, plus `offset`.
    """

    model_config = _FROZEN

    part: int
    offset: int = 0
    contracts: tuple[str, ...] = ()
    name: str | None = None
    size: int = 1
    """How many messages it handles at the same time: agents times their concurrency."""
    routing: str | None = None
    """The routing of its contracts (`Routing.to_text`); None changes nothing."""


class SpawnPart(BaseModel):
    """Actors that start together, on one host."""

    model_config = _FROZEN

    entries: bytes
    """A pickled list of `SpawnEntry` (the kernel's `control_actor.py`) and `Startable`."""
    code: bytes = b""
    """The pickled classes alone, which standbys load in advance."""
    count: int
    """The number of entries."""
    numbers_each: int = 1
    """The cell numbers that each entry takes: one, or as many as its tree has nodes."""
    placement: dict[str, Any] | None = None
    """`Placement.to_data()`; None for the least loaded host."""
    host: dict[str, Any] | None = None
    """For an isolated placement, `HostSpec.to_data()` of the host to start for it."""
    comes_back: bool = True
    """Whether a replacement of its host starts it again; otherwise it ends with its host."""
    field: str = ""
    """The name that errors about its placement use; empty where a name would not help."""
    is_remote_child_holder: bool = False
    """Whether it holds a placed child of the tree in part 0 of its request, and ends with it."""
    holders: tuple[int, ...] = ()
    """The parts of its request that hold the placed children of its tree, in their order."""
    places: tuple[tuple[int, int], ...] = ()
    """Slot and first cell number of each holder. The root fills this in."""
    spreads: bool = False
    """Whether hosts that come later get such a part, too, and the shares of its keys move."""


class Spawned(Contract, name="callboard.spawned"):
    """The places of the actors: slot and first cell number of each part, in order."""

    parts: tuple[tuple[int, int], ...]
    failures: dict[int, dict[str, Any]]
    """The cells that did not start, and why (errors as data)."""


class Spawn(Request[Spawned], name="callboard.spawn"):
    """Start actors; after the reply, the sender's host can use their names and offers."""

    parts: tuple[SpawnPart, ...]
    offers: tuple[Offer, ...] = ()
    all_or_none: bool = False
    """Whether a failed start stops all others again."""
    token: str = ""
    """Identifies the request when a driver repeats it after the death of the root: a repeated
    token starts nothing twice. Empty when the driver never repeats it."""


class ResizedPool(Contract, name="callboard.resized_pool"):
    """The parts have their new sizes; surplus agents end after their current message."""


class PartSize(BaseModel):
    """The new size of one host's part of a running pool, with its entries and its offer."""

    model_config = _FROZEN

    slot: int
    cell: int
    size: int
    part: SpawnPart
    offer: Offer


class ResizePool(Request[ResizedPool], name="callboard.resize_pool"):
    """Resize parts of a pool, now and for later replacements of their hosts.

    Fails with `ActorStartFailed`. Parts that do not exist any more are skipped.
    """

    parts: tuple[PartSize, ...]


class StoppedActor(Contract, name="callboard.stopped_actor"):
    """The actor has stopped."""


class StopActor(Request[StoppedActor], name="callboard.stop_actor"):
    """Stop a top-level actor for good, in order. Fails with `ActorNotFound`."""

    slot: int
    cell: int
    drains: bool = False
    """Whether the actor first handles all messages that were sent to it. The reply comes as
    soon as the actor cannot be found any more."""


class AllDeadLettersSubscribed(Contract, name="callboard.all_dead_letters_subscribed"):
    """Every living host has the subscriber, and later hosts will have it."""


class SubscribeAllDeadLetters(
    Request[AllDeadLettersSubscribed], name="callboard.subscribe_all_dead_letters"
):
    """Send each further dead letter of all hosts, later hosts included, to an actor."""

    subscriber: Ref[Any]
