"""Detached systems in the simulator: a root of its own process, and drivers that come and go."""

__all__: list[str] = []
