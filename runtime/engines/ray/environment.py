"""The environment of every process that is part of a Ray cluster."""

import dataclasses
from typing import Final

from callboard.messages.ports import MetricSink

from ...hosting.environment import REAL, Environment

__all__ = ["RAY"]


def _make_metrics(system: str, host: str) -> MetricSink:
    from .metrics import RayMetrics  # Loaded late: a new host has more urgent work.

    return RayMetrics(system, host)


RAY: Final[Environment] = dataclasses.replace(REAL, make_metrics=_make_metrics)
"""The environment of this machine, with the metrics of its Ray node."""
