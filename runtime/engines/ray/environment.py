"""The environment of every process that is part of a Ray cluster."""

import dataclasses
from typing import Final

from callboard.messages.ports import MetricSink

from ...hosting.environment import REAL, Environment

__all__ = ["RAY"]


def _make_metrics(system: str, host: str) -> MetricSink:
    from .metrics import RayMetrics  # Loaded late: a new host has more urgent work.

    return RayMetrics(system, host)


def _node() -> str:
    import ray

    from .release_check import node_title

    return node_title(ray.get_runtime_context().get_node_id())


def _metrics_group(system: str, is_detached: bool) -> str:  # noqa: FBT001 - as its field calls it
    import ray

    context = ray.get_runtime_context()
    # The name of a detached system is unique in its cluster, and many drivers' jobs have part in
    # it. All processes of another system belong to the job of its driver.
    job = "" if is_detached else context.get_job_id()
    return f"{context.gcs_address} {job} {system}"


RAY: Final[Environment] = dataclasses.replace(
    REAL, make_metrics=_make_metrics, node=_node, metrics_group=_metrics_group
)
"""The environment of this machine, with the name and the metrics of its Ray node."""
