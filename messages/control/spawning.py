"""What a driver asks of the root: to start actors, to stop them, to be told of things.

The root may live in another process than the driver, so what is to be started travels as
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
    """Let one of the new actors be found: by the contracts it handles, or by a name.

    The actor is the one with the number `offset` after the first number of part `part`.
    """

    model_config = _FROZEN

    part: int
    offset: int = 0
    contracts: tuple[str, ...] = ()
    name: str | None = None
    size: int = 1
    """How many messages it works on at once: agents times their concurrency."""
    routing: str | None = None
    """How its contracts are routed (`Routing.to_text`); None leaves it as it is."""


class SpawnPart(BaseModel):
    """Actors that are started together, on one host."""

    model_config = _FROZEN

    entries: bytes
    """A pickled list of `SpawnEntry` (the kernel's `control_actor.py`) and `Startable`."""
    code: bytes = b""
    """The pickled classes alone: what a standby loads before it is needed."""
    count: int
    """How many births there are."""
    numbers_each: int = 1
    """Cell numbers that each birth takes: one, or as many as its tree has nodes."""
    placement: dict[str, Any] | None = None
    """`Placement.to_data()`; None: the least loaded host."""
    host: dict[str, Any] | None = None
    """For an isolated placement, `HostSpec.to_data()` of the host to start for it."""
    comes_back: bool = True
    """Whether it is started again where its host is replaced; otherwise it is gone with it."""
    field: str = ""
    """What errors about its placement name; empty where nobody would know more by it."""
    is_remote_child_holder: bool = False
    """Whether it holds a placed child of the tree in part 0 of its request, and ends with it."""
    holders: tuple[int, ...] = ()
    """The parts of its request that hold the placed children of its tree, in their order."""
    places: tuple[tuple[int, int], ...] = ()
    """Where those are: slot and first cell number of each. The root fills it in."""


class Spawned(Contract, name="callboard.spawned"):
    """Where the actors are: slot and first cell number of each part, in order."""

    parts: tuple[tuple[int, int], ...]
    failures: dict[int, dict[str, Any]]
    """The cells that did not start, and why (errors as data)."""


class Spawn(Request[Spawned], name="callboard.spawn"):
    """Start actors; when it is answered, names and offers can be used from the asker's host."""

    parts: tuple[SpawnPart, ...]
    offers: tuple[Offer, ...] = ()
    all_or_none: bool = False
    """Whether all are stopped again when one of them does not start."""
    token: str = ""
    """For a driver that may have to ask again, because the root died: what has been started
    under this token is not started twice. Empty when it never asks again."""


class ResizedPool(Contract, name="callboard.resized_pool"):
    """The parts have their new sizes; agents that were too many end with what they do."""


class PartSize(BaseModel):
    """One host's part of a running pool, as it is to be: births of a new size, and its offer."""

    model_config = _FROZEN

    slot: int
    cell: int
    size: int
    part: SpawnPart
    offer: Offer


class ResizePool(Request[ResizedPool], name="callboard.resize_pool"):
    """Give parts of a pool other sizes, now and whenever their hosts are replaced.

    Fails with `ActorStartFailed`. Parts that are not there any more are left out.
    """

    parts: tuple[PartSize, ...]


class StoppedActor(Contract, name="callboard.stopped_actor"):
    """The actor has stopped."""


class StopActor(Request[StoppedActor], name="callboard.stop_actor"):
    """Stop a top-level actor in order; it does not come back. Fails with `ActorNotFound`."""

    slot: int
    cell: int
    drains: bool = False
    """Whether it first handles all that was sent to it. It is answered as soon as nobody finds
    the actor any more."""


class AllDeadLettersSubscribed(Contract, name="callboard.all_letters_subscribed"):
    """Every living host has the subscriber, and those to come will."""


class SubscribeAllDeadLetters(
    Request[AllDeadLettersSubscribed], name="callboard.subscribe_all_letters"
):
    """Send each dead letter of every host, also of hosts to come, to an actor."""

    subscriber: Ref[Any]
