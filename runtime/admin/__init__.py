"""The admin API: queries and commands that other programs send to a running system."""

__all__: list[str] = []
