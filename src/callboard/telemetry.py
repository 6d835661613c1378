"""What a system tells about itself to metrics."""

from callboard.runtime.api.measure import measure

__all__ = [
    "measure",
]
