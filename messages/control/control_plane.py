"""The messages of the control plane between root and hosts.

They travel over the same links as data, to cell 0 of a host (its control actor) or of the
control host (the root's endpoint). A link writes them before data that waits.
"""

from typing import Any, Final

from pydantic import Field

from ..core.contract import Contract, Request
from ..core.ref import Ref

__all__ = [
    "CONTROL_CELL",
    "CONTROL_SLOT",
    "FIRST_DRIVER_SLOT",
    "ActorDrained",
    "ActorEnded",
    "ActorsStarted",
    "ActorsStopped",
    "Barrier",
    "BarrierPassed",
    "DirectoryChanged",
    "DirectoryPatched",
    "DrainActor",
    "HostDown",
    "HostLeaves",
    "HostStopped",
    "LeaveAcknowledged",
    "PartResized",
    "Peer",
    "PeersChanged",
    "ResizePart",
    "SendBarrier",
    "StartActors",
    "StopActors",
    "StopHost",
    "SubscribeDeadLetters",
    "SubscribedDeadLetters",
    "WantDirectory",
    "is_driver_slot",
]

CONTROL_CELL: Final = 0
"""The cell of a host's control actor, and of the root's endpoint."""

CONTROL_SLOT: Final = 0
"""The slot of the host of the root and the driver."""
FIRST_DRIVER_SLOT: Final = 1 << 32
"""Slots from here on belong to drivers that have attached to a detached system, and run no
actors. The number of each is drawn once and never used again."""

Peer = tuple[int, str, tuple[str, str, bytes] | None]
"""The process at a slot: its epoch, its name, and its socket (node, name, token)."""


def is_driver_slot(slot: int) -> bool:
    """Whether a slot belongs to an attached driver, which runs no actors."""
    return slot >= FIRST_DRIVER_SLOT


class ActorsStarted(Contract, name="callboard.actors_started"):
    """The cells that did not start, and why (errors as data)."""

    failures: dict[int, dict[str, Any]]


class StartActors(Request[ActorsStarted], name="callboard.start_actors"):
    """Start top-level actors; `entries` is pickled code and constructor arguments."""

    entries: bytes
    cells: tuple[int, ...]
    """The first cell number of each entry, in order; 0 for an actor that has ended meanwhile."""
    places: tuple[tuple[int, int], ...] = ()
    """Slot and cell of the holders of a tree's placed children; see docs/supervision.md."""
    waits: bool = True
    """Whether the reply waits until all have started. Otherwise it comes as soon as the host
    takes messages for them, and a failed start is reported as the end of that actor."""
    fence: int = 0
    """The fencing tokens of all actors that start on the host from now on are above this."""


class ActorsStopped(Contract, name="callboard.actors_stopped"):
    """The actors have stopped, or did not exist."""


class StopActors(Request[ActorsStopped], name="callboard.stop_actors"):
    """Stop top-level actors in order."""

    cells: tuple[int, ...]


class PartResized(Contract, name="callboard.part_resized"):
    """The part has its new size, or does not exist any more."""


class ResizePart(Request[PartResized], name="callboard.resize_part"):
    """Set the number of agents of one host's part of a pool."""

    cell: int
    size: int


class ActorDrained(Contract, name="callboard.actor_drained"):
    """The actor is idle: no message waits, and no handler runs."""


class DrainActor(Request[ActorDrained], name="callboard.drain_actor"):
    """Wait until an actor is idle: no message waits, and no handler runs."""

    cell: int


class BarrierPassed(Contract, name="callboard.barrier_passed"):
    """The actor has taken all earlier messages of this host out of its mailbox."""


class SendBarrier(Request[BarrierPassed], name="callboard.send_barrier"):
    """Send a barrier behind all messages that this host has for an actor, and wait for it."""

    slot: int
    cell: int


class Barrier(Request[BarrierPassed], name="callboard.barrier"):
    """Travels like any message to an actor. The actor's lack of a handler is the reply."""


class HostStopped(Contract, name="callboard.host_stopped"):
    """All actors of the host have stopped: children before parents, the last started first."""


class StopHost(Request[HostStopped], name="callboard.stop_host"):
    """Stop everything on the host in order."""

    comes_back: bool = False
    """Whether another process starts its actors again afterwards, with their group."""


class LeaveAcknowledged(Contract, name="callboard.leave_acknowledged"):
    """The sender sends no more to that incarnation; all it sent is before this message."""


class HostLeaves(Request[LeaveAcknowledged], name="callboard.host_leaves"):
    """The actors of a host have stopped; the host's next incarnation starts them again."""

    slot: int
    epoch: int


class HostDown(Contract, name="callboard.host_down"):
    """An incarnation of a host has ended. The root sends this to all other hosts at once."""

    slot: int
    epoch: int
    reason: dict[str, Any]
    comes_back: bool
    """Whether another process takes over its slot; if not, nothing waits for it any longer."""


class ActorEnded(Contract, name="callboard.actor_ended"):
    """A top-level actor ended for good: a restart of its host must not start it again."""

    slot: int
    cell: int
    reason: dict[str, Any]


class DirectoryChanged(Contract, name="callboard.directory_changed"):
    """The whole directory: names, and the actors that offer each contract, as (slot, cell)."""

    version: int
    hosts: tuple[int, ...]
    """The slots of all hosts that take any actor, up or down, without the isolated hosts."""
    names: dict[str, tuple[int, int]]
    offers: dict[str, tuple[tuple[int, int], ...]]
    sizes: dict[str, int]
    """The number of agents behind an address, written `slot/cell`."""
    routings: dict[str, str] = Field(default_factory=dict)
    """The routing of a contract (`Routing.to_text`), where one was set."""
    places: dict[int, int]
    """All slots, those of isolated hosts included, each with the epoch after which it stays
    empty (its host ended and is not restarted); 0 for all others."""
    newest_slot: int
    """The highest number ever given: a lower number without a place is gone for good."""
    fence: int = 0
    """The floor of fencing tokens from now on: keys that have moved get higher ones."""


class DirectoryPatched(Contract, name="callboard.directory_patched"):
    """The changes of the directory from one version to the next; fields as in `DirectoryChanged`.

    A host that has another version than `base` asks for the whole by `WantDirectory`.
    """

    base: int
    version: int
    names: dict[str, tuple[int, int]] = Field(default_factory=dict)
    names_gone: tuple[str, ...] = ()
    withdrawn: dict[str, tuple[tuple[int, int], ...]] = Field(default_factory=dict)
    """The actors that no longer offer a contract."""
    offered: dict[str, tuple[tuple[int, int], ...]] = Field(default_factory=dict)
    """The actors that offer a contract now, behind those that did before."""
    sizes: dict[str, int] = Field(default_factory=dict)
    sizes_gone: tuple[str, ...] = ()
    routings: dict[str, str] = Field(default_factory=dict)
    routings_gone: tuple[str, ...] = ()
    hosts_gone: tuple[int, ...] = ()
    hosts: tuple[int, ...] = ()
    """The new ones, behind those that there were before."""
    places: dict[int, int] = Field(default_factory=dict)
    places_gone: tuple[int, ...] = ()
    newest_slot: int
    fence: int = 0


class WantDirectory(Contract, name="callboard.want_directory"):
    """A host has missed a change: the root sends it the whole directory."""

    slot: int


class SubscribedDeadLetters(Contract, name="callboard.subscribed_dead_letters"):
    """How many dead letters there were before, by reason."""

    before: dict[str, int]


class SubscribeDeadLetters(Request[SubscribedDeadLetters], name="callboard.subscribe_dead_letters"):
    """Send each further dead letter of the host to an actor."""

    subscriber: Ref[Any]


class PeersChanged(Contract, name="callboard.peers_changed"):
    """The processes at these slots now, for an attached driver, which finds them by name."""

    peers: dict[int, Peer]
    is_open: bool
    """Whether the actors there have been started, so that requests may be sent to them."""
