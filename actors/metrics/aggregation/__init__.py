"""Aggregators: shards of windows as supervised actors, their stores, and their newest windows."""

__all__: list[str] = []
