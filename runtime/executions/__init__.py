"""The executions of one process, their journals, and the execution service."""

__all__: list[str] = []
