"""A pipeline at work: from its source through its stages to its sink, each commit durable."""

__all__: list[str] = []
