"""What a look at the running system gives: its hosts and actors as contracts.

Looks travel as the control plane does: to cell 0 of a host (its warden), or of the control
host (the root's desk), which asks every host.
"""

from .contract import Contract, Request

__all__ = [
    "ActorView",
    "CallboardView",
    "HostView",
    "LookAtHost",
    "LookAtSystem",
]


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
