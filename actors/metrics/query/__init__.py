"""Queries over windows: readers, ranges and steps, and the query language."""

__all__: list[str] = []
