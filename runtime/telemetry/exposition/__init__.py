"""Exposition: one endpoint for each node, with the figures of all its hosts, for Prometheus."""

__all__: list[str] = []
