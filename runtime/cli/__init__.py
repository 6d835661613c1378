"""The command line: `callboard run`, `tree` and `doctor`."""

__all__: list[str] = []
