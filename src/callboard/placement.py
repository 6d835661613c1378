"""The placement of actors on hosts, and the routing of messages to them."""

from callboard.messages.control.hosts import AutoHosts, HostSpec
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.routing import Routing, consistent_hash

__all__ = [
    "AutoHosts",
    "HostSpec",
    "Placement",
    "Resources",
    "Routing",
    "consistent_hash",
]
