"""Executions of a detached system: its steward runs them, and drivers follow."""

__all__: list[str] = []
