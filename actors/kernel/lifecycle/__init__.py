"""The lifecycle of actors on a host: start, failure, restart and stop.

`Spawner` makes cells, `CellChildren` carries out the decisions of a supervisor, and
`Termination` ends cells. `Cleanup` drops what an incarnation has registered, and the mailbox
policy decides about waiting messages.
"""

__all__: list[str] = []
