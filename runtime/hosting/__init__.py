"""Hosts as processes: how one is made, and what its environment gives it."""

__all__: list[str] = []
