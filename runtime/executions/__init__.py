"""The executions of one process, their journals, and the service of detached systems."""

__all__: list[str] = []
