"""The ordered, flow-controlled path between two hosts."""

__all__: list[str] = []
