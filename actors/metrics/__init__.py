"""Metrics: points, windows by event time, their aggregators, and queries over them."""
