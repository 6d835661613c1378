"""Competing consumers: each event of a group goes to one of them, until it is done or parked."""

__all__: list[str] = []
