"""Stores of events, states and read models: in a file, in PostgreSQL, or in memory."""

__all__: list[str] = []
