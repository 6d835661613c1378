"""Keyed actors: one activation for each key, activated on demand and passivated when idle."""

__all__: list[str] = []
