"""Projections: read models folded from the log, each position in them exactly once."""

__all__: list[str] = []
