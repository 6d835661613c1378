"""Configuration as packages: read, checked, rolled out in waves, and taken back."""

__all__: list[str] = []
