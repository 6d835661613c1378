"""The kernel: what one process needs to run actors. It names no role."""

__all__: list[str] = []
