"""Jobs, plans and executions, as messages and data."""

__all__: list[str] = []
