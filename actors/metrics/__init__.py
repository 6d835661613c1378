"""Metrics: points, windows by event time, their aggregators, and queries over them."""

__all__: list[str] = []
