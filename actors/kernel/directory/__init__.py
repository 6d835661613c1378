"""The directory of a host: names and offers, routing, and subscriptions to changes.

Each host has a copy of the root's directory. A route is chosen from the copy, and
subscribers on the host get the changes of each new copy.
"""

__all__: list[str] = []
