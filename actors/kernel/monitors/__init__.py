"""Watches and links between actors, on one host or across hosts."""

__all__: list[str] = []
