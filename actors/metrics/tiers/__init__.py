"""Tiers of metrics: closed windows as segments, their rules, and a reader over them."""

__all__: list[str] = []
