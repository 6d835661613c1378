"""The journal: the one writer of an event log, group commits, clients and snapshots."""

__all__: list[str] = []
