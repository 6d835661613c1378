"""The kernel: what one process needs to run actors.

It holds the actor's class and context, the cell that runs an actor, the dispatcher, and the
host where they meet. It names no role: a role plugs in as an extension of a host, and as
recipes that make cells of their own kinds.
"""

__all__: list[str] = []
