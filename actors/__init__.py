"""The actors: one folder a role, each with a pure core and a thin shell around it."""

__all__: list[str] = []
