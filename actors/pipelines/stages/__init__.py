"""The standard stage types, over rows and over columns."""

__all__: list[str] = []
