"""The host: one process (or an inline stand-in for one) that runs many cells."""

__all__: list[str] = []
