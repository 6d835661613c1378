"""Logs: from the loggers of a host to the control host, which answers queries."""

__all__: list[str] = []
