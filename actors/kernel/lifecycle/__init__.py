"""How actors start, fail, restart and stop on a host."""

__all__: list[str] = []
