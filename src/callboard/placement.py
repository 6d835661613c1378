"""Where actors run, and which of them a message reaches."""

from callboard.messages.hosts import HostSpec
from callboard.messages.placement import Placement, Resources
from callboard.messages.routing import Routing, consistent_hash

__all__ = [
    "HostSpec",
    "Placement",
    "Resources",
    "Routing",
    "consistent_hash",
]
