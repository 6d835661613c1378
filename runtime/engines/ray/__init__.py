"""The Ray engine: hosts are Ray actors, frames are Ray calls."""

__all__: list[str] = []
