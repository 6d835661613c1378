"""Supervision trees as data, and the cells that run them on a host."""

__all__: list[str] = []
