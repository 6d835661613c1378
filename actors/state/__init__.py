"""States of agents: stored, cached, told of, and changed only as the table allows."""

__all__: list[str] = []
