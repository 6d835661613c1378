"""Events, states and blobs, and the ports of the stores that keep them."""

__all__: list[str] = []
