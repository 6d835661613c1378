"""Supervision trees as data, and the cells that keep them running on a host."""

__all__: list[str] = []
