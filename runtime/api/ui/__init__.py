"""The page, the HTTP API and streams of a system: its hubs, and their start by a driver."""

__all__: list[str] = []
