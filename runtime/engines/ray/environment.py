"""The environment of every process that is part of a Ray cluster."""

import dataclasses
from typing import Final

from callboard.messages.ports import MetricSink

from ...hosting.environment import REAL, Environment

__all__ = ["RAY"]


def _make_metrics(system: str, host: str) -> MetricSink:
    from .metrics import RayMetrics  # Loaded when its host has nothing urgent.

    return RayMetrics(system, host)


RAY: Final[Environment] = dataclasses.replace(REAL, make_metrics=_make_metrics)
"""This machine's, with the metrics port of its Ray node."""
