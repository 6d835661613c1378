"""Events, states and blobs, and the ports of their stores."""

__all__: list[str] = []
