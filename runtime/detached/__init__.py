"""Systems that outlive their drivers: a root in a process of its own, and attached drivers."""

__all__: list[str] = []
