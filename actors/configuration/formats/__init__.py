"""Pure readers: bytes become components and findings."""

__all__: list[str] = []
