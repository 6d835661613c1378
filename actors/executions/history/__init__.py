"""What an execution did, as events: written while it runs, folded to look or to resume."""

__all__: list[str] = []
