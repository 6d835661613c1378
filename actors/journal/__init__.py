"""The journal: the one writer of an event log, commits in groups, and what reads behind it."""

__all__: list[str] = []
