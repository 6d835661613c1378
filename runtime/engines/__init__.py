"""Engines: what gives hosts processes, links and stores."""

__all__: list[str] = []
