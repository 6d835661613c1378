"""Recording: what points are measured with, and their way to the aggregators."""

__all__: list[str] = []
