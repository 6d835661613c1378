"""Telemetry: the metrics of hosts, and the memory and processor time of their processes."""

__all__: list[str] = []
