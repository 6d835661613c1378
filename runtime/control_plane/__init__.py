"""The control plane: the root supervises hosts, and knows which actors run on them."""

__all__: list[str] = []
