"""The execution service of a detached system, and its client in drivers."""

__all__: list[str] = []
