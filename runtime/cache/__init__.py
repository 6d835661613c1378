"""Caches of bytes by key: in this process, in Redis, and both together."""

__all__: list[str] = []
