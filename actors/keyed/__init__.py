"""Keyed actors: one activation for each key, made when it is needed and put away when not."""

__all__: list[str] = []
