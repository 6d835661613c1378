"""Transports: sockets, pulls, and the watch of local processes."""

__all__: list[str] = []
