"""Metrics of projections, logs and caches that a program adds to those of its driver."""

from callboard.runtime.api.measure import measure

__all__ = [
    "measure",
]
