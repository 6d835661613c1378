"""Telemetry: what a host's process costs, and the system's figures as Ray's metrics."""

__all__: list[str] = []
