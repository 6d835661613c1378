"""The roll-out of configuration: in waves, judged, and taken back where it does harm."""

__all__: list[str] = []
