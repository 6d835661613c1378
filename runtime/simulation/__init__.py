"""The simulator: a whole system in one process, on a virtual clock, replayable from a seed."""

__all__: list[str] = []
