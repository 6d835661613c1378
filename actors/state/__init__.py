"""States of agents: stored, cached and published; the table of transitions bounds each change."""

__all__: list[str] = []
