"""Engines give hosts processes, links and blob stores."""

__all__: list[str] = []
