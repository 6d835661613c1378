"""What the root and a driver that has attached to a detached system tell each other.

Such a driver is a guest: it has a host of its own, on a slot of the guests' range, which
runs no actors of others. Hosts and guests learn of each other from the root.
"""

from typing import Final

from .contract import Contract

__all__ = ["FIRST_GUEST_SLOT", "Peer", "PeersChanged", "is_guest"]

FIRST_GUEST_SLOT: Final = 1 << 32
"""Slots from here on are drivers'. Each has a number that is drawn once and never used again."""

Peer = tuple[int, str, tuple[str, str, bytes] | None]
"""Which process is at a slot: epoch, the process' name, and its socket (node, name, token)."""


def is_guest(slot: int) -> bool:
    """Whether a slot is a driver's, which takes no actors."""
    return slot >= FIRST_GUEST_SLOT


class PeersChanged(Contract, name="callboard.peers_changed"):
    """Which processes are at these slots now; to a guest, which finds them by their names."""

    peers: dict[int, Peer]
    is_open: bool
    """Whether the actors there have been started, so that requests may leave for them."""
