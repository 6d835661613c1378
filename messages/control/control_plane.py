"""The control plane between root and hosts, as contracts like any others.

They travel over the same links as data, to cell 0 of a host (its control actor) or of the
control host (the root's endpoint), and are written before data that waits.
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
    "is_driver_slot",
]

CONTROL_CELL: Final = 0
"""The cell of a host's control actor, and of the root's endpoint."""

CONTROL_SLOT: Final = 0
"""The slot of the host that the root and the driver live on."""
FIRST_DRIVER_SLOT: Final = 1 << 32
"""Slots from here on belong to drivers that have attached to a detached system, and take no
actors. The number of each is drawn once and never used again."""

Peer = tuple[int, str, tuple[str, str, bytes] | None]
"""Which process is at a slot: its epoch, its name, and its socket (node, name, token)."""


def is_driver_slot(slot: int) -> bool:
    """Whether a slot belongs to an attached driver, which takes no actors."""
    return slot >= FIRST_DRIVER_SLOT


class ActorsStarted(Contract, name="callboard.actors_started"):
    """Which of the wanted actors did not start, and why (errors as data)."""

    failures: dict[int, dict[str, Any]]


class StartActors(Request[ActorsStarted], name="callboard.start_actors"):
    """Start top-level actors; `entries` is pickled code and constructor arguments."""

    entries: bytes
    cells: tuple[int, ...]
    """The first number of each birth, in order; 0 for one that has ended meanwhile."""
    places: tuple[tuple[int, int], ...] = ()
    """Slot and cell of the holders of a tree's placed children; see docs/supervision.md."""
    waits: bool = True
    """Whether it is answered when all have started; otherwise as soon as messages for them
    may come, and one that does not start is reported as one that ended."""


class ActorsStopped(Contract, name="callboard.actors_stopped"):
    """The actors have stopped, or were not there."""


class StopActors(Request[ActorsStopped], name="callboard.stop_actors"):
    """Stop top-level actors in order."""

    cells: tuple[int, ...]


class PartResized(Contract, name="callboard.part_resized"):
    """So many agents serve the part now, or it is not there any more."""


class ResizePart(Request[PartResized], name="callboard.resize_part"):
    """Let so many agents serve one host's part of a pool."""

    cell: int
    size: int


class ActorDrained(Contract, name="callboard.actor_drained"):
    """Nothing waits or runs there."""


class DrainActor(Request[ActorDrained], name="callboard.drain_actor"):
    """Wait until nothing waits or runs in an actor."""

    cell: int


class BarrierPassed(Contract, name="callboard.barrier_passed"):
    """All that this host had sent to the actor before has been taken out of its mailbox."""


class SendBarrier(Request[BarrierPassed], name="callboard.send_barrier"):
    """Send a barrier behind all that this host has for an actor, and wait for it."""

    slot: int
    cell: int


class Barrier(Request[BarrierPassed], name="callboard.barrier"):
    """Goes the way of any message to an actor. That it has no handler for it is its answer."""


class HostStopped(Contract, name="callboard.host_stopped"):
    """All actors of the host have stopped, children before parents, last started first."""


class StopHost(Request[HostStopped], name="callboard.stop_host"):
    """Stop everything on the host in order."""

    comes_back: bool = False
    """Whether its actors are started again afterwards, in another process, with their group."""


class LeaveAcknowledged(Contract, name="callboard.leave_taken"):
    """Nothing more leaves for that incarnation; what had, is before this."""


class HostLeaves(Request[LeaveAcknowledged], name="callboard.host_leaves"):
    """The actors of a host have stopped, and come back with its next incarnation."""

    slot: int
    epoch: int


class HostDown(Contract, name="callboard.host_down"):
    """An incarnation of a host is gone; told to all others as soon as the root knows."""

    slot: int
    epoch: int
    reason: dict[str, Any]
    comes_back: bool
    """Whether its slot is taken over again; if not, nothing waits for it any longer."""


class ActorEnded(Contract, name="callboard.actor_ended"):
    """A top-level actor ended for good, so it must not come back with its host."""

    slot: int
    cell: int
    reason: dict[str, Any]


class DirectoryChanged(Contract, name="callboard.directory_changed"):
    """The whole directory: names, and who offers which contract, as (slot, cell)."""

    version: int
    hosts: tuple[int, ...]
    """The slots of all hosts that take actors of any kind, up or not; isolated ones are not."""
    names: dict[str, tuple[int, int]]
    offers: dict[str, tuple[tuple[int, int], ...]]
    sizes: dict[str, int]
    """Agents behind an address, written `slot/cell`."""
    routings: dict[str, str] = Field(default_factory=dict)
    """How a contract is routed (`Routing.to_text`), where somebody has said so."""
    places: dict[int, int]
    """Every slot there is, isolated ones too, each with the epoch after which it rests (its
    host ended and does not come back by itself); 0 for those that do not rest."""
    newest_slot: int
    """The highest number ever given: what is below and has no place is gone for good."""


class SubscribedDeadLetters(Contract, name="callboard.subscribed_dead_letters"):
    """How many there were before."""

    before: dict[str, int]


class SubscribeDeadLetters(Request[SubscribedDeadLetters], name="callboard.subscribe_dead_letters"):
    """Send each dead letter of the host to an actor from now on."""

    subscriber: Ref[Any]


class PeersChanged(Contract, name="callboard.peers_changed"):
    """Which processes are at these slots now; to an attached driver, which finds them by name."""

    peers: dict[int, Peer]
    is_open: bool
    """Whether the actors there have been started, so that requests may leave for them."""
