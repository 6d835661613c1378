"""The root: keeps hosts alive and remembers what has to run on them."""

__all__: list[str] = []
