"""Projections: read models folded from the log, with each event in them exactly once."""

__all__: list[str] = []
