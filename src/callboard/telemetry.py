"""What a system tells about itself to metrics."""

from callboard.runtime.telemetry.measure import measure

__all__ = [
    "measure",
]
