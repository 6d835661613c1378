"""The endpoints of streams: a connection's bytes to a session of the hub, and back."""

__all__: list[str] = []
