"""Systems that outlive their drivers: a root of its own process, and drivers as guests."""

__all__: list[str] = []
