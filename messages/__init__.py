"""Contracts, codec, references, specs, errors and ports: what everything else speaks."""

__all__: list[str] = []
