"""The public API of drivers: systems, pools, keyed actors, logs and states."""

__all__: list[str] = []
