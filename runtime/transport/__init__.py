"""Transports that engines share."""

__all__: list[str] = []
