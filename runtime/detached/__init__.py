"""Detached systems: a root in a process of its own, and drivers that attach to it."""

__all__: list[str] = []
