"""The making of a host in a process: its settings, environment, memory and adapters."""

__all__: list[str] = []
