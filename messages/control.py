"""The control plane between root and hosts, as contracts like any others.

They travel over the same links as data, to cell 0 of a host (its warden) or of the
control host (the root's desk), and are written before data that waits.
"""

from typing import Any, Final

from .contract import Contract, Request
from .ref import Ref

__all__ = [
    "CONTROL_CELL",
    "CONTROL_SLOT",
    "ActorEnded",
    "ActorView",
    "ActorsStarted",
    "ActorsStopped",
    "CallboardView",
    "DirectoryChanged",
    "HostStopped",
    "HostView",
    "LookAtHost",
    "LookAtSystem",
    "StartActors",
    "StopActors",
    "StopHost",
    "SubscribeDeadLetters",
    "SubscribedDeadLetters",
]

CONTROL_CELL: Final = 0
"""The cell of a host's warden, and of the root's desk."""

CONTROL_SLOT: Final = 0
"""The slot of the host that the root and the driver live on."""


class ActorsStarted(Contract, name="callboard.actors_started"):
    """Which of the wanted actors did not start, and why (errors as data)."""

    failures: dict[int, dict[str, Any]]


class StartActors(Request[ActorsStarted], name="callboard.start_actors"):
    """Start top-level actors; `births` is pickled code and constructor arguments."""

    births: bytes


class ActorsStopped(Contract, name="callboard.actors_stopped"):
    """The actors have stopped, or were not there."""


class StopActors(Request[ActorsStopped], name="callboard.stop_actors"):
    """Stop top-level actors in order."""

    cells: tuple[int, ...]


class HostStopped(Contract, name="callboard.host_stopped"):
    """All actors of the host have stopped, children before parents, last started first."""


class StopHost(Request[HostStopped], name="callboard.stop_host"):
    """Stop everything on the host in order."""


class ActorEnded(Contract, name="callboard.actor_ended"):
    """A top-level actor ended for good, so it must not come back with its host."""

    slot: int
    cell: int
    reason: dict[str, Any]


class DirectoryChanged(Contract, name="callboard.directory_changed"):
    """The whole directory: names, and who offers which contract, as (slot, cell)."""

    version: int
    names: dict[str, tuple[int, int]]
    offers: dict[str, tuple[tuple[int, int], ...]]
    sizes: dict[str, int]
    """Agents behind an address, written `slot/cell`."""


class ActorView(Contract, name="callboard.actor_view"):
    """One actor as `callboard tree` shows it."""

    cell: int
    name: str
    kind: str
    life: str
    mailbox: int
    incarnation: int
    children: int
    """How many children it has in all; `members` may show fewer."""
    restarts: int = 0
    """Restarts that it caused itself; a sibling's count with the sibling."""
    last_failure: str = ""
    members: "tuple[ActorView, ...]" = ()


class HostView(Contract, name="callboard.host_view"):
    """One host as `callboard tree` shows it."""

    slot: int
    epoch: int
    name: str
    pid: int
    node: str
    actors: int
    handled: int
    pending_asks: int
    dead_letters: dict[str, int]
    memory_bytes: int
    members: tuple[ActorView, ...] = ()


class LookAtHost(Request[HostView], name="callboard.look_at_host"):
    """What is on a host; at most `actors_max` actors are told one by one."""

    actors_max: int = 50


class CallboardView(Contract, name="callboard.view"):
    """The whole system."""

    name: str
    hosts: tuple[HostView, ...]
    restarts: int
    understudies: int


class LookAtSystem(Request[CallboardView], name="callboard.look_at_system"):
    """What there is in the system."""

    actors_max: int = 50


class SubscribedDeadLetters(Contract, name="callboard.subscribed_dead_letters"):
    """How many there were before."""

    before: dict[str, int]


class SubscribeDeadLetters(Request[SubscribedDeadLetters], name="callboard.subscribe_dead_letters"):
    """Send each dead letter of the host to an actor from now on."""

    subscriber: Ref[Any]
