"""Storage tiers: segments in object stores, their catalogue, and moves that survive crashes."""

__all__: list[str] = []
