"""Executions of a detached system: its execution service runs them, and drivers follow."""

__all__: list[str] = []
