"""Competing consumers: each event goes to one consumer of a group, until it is done or parked."""

__all__: list[str] = []
