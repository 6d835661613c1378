"""What `nodes` measures for any side: within one node of Ray, between two, and the loss of one.

Our side and the peers run on a cluster of this machine that the side starts, or on a cluster that
exists (`address` among the parameters). The nodes of an existing cluster are not lost.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.cluster import NodeCluster, node_cluster
from bench.large import expected_values
from bench.outcome import Outcome, Params, check_of
from bench.timing import median_and_worst
from bench.workload import expected_ask, expected_failover, expected_fanout

__all__ = [
    "PATHS",
    "VALUES",
    "VALUES_WARM_UP",
    "Places",
    "Tally",
    "expected_nodes",
    "places",
]

PATHS: Final = ("within", "between")
"""From one process to another one of its node, and to one of another node."""
VALUES: Final = ("60kb", "1mb", "16mb")
"""The sizes of values that are sent."""
VALUES_WARM_UP: Final = 20
NOT_LOST: Final = "no node was lost: this cluster belongs to others"
SAME_SPACE: Final = "the nodes share one process space, so the kernel reports a loss at once"


def expected_nodes(params: Params) -> str:
    """The check over the checks of all parts that the side has."""
    found: dict[str, str] = {}
    for path in PATHS:
        if "messages" in params:
            found[f"{path} asks"] = expected_ask(params)
        if "megabytes" in params:
            found[f"{path} values"] = expected_values(params, VALUES)
    found["fan-out"] = expected_fanout(params)
    for part in ("losses", "root_losses"):
        if params.get(part):
            found[part] = expected_failover({**params, "rounds": params[part]})
    return check_of(found)


class Tally:
    """The figures and checks of one side, as its parts give them."""

    def __init__(self) -> None:
        self._results: dict[str, float] = {}
        self._checks: dict[str, str] = {}
        self.notes: Final[list[str]] = []

    def add(self, path: str, part: str, outcome: Outcome) -> None:
        """Take over the figures of one path; their names begin with it."""
        self._results |= {f"{path}_{name}": value for name, value in outcome.results.items()}
        self._checks[f"{path} {part}"] = outcome.check

    def add_figures(self, path: str, results: Mapping[str, float]) -> None:
        """Take over figures that have no check of their own."""
        self._results |= {f"{path}_{name}": value for name, value in results.items()}

    def add_fanout(self, outcome: Outcome) -> None:
        """Take over the fan-out over both nodes."""
        self._results |= outcome.results
        self._checks["fan-out"] = outcome.check

    def add_losses(
        self, part: str, prefix: str, after_s: Sequence[Mapping[str, float]], check: str
    ) -> None:
        """Take over the seconds after each loss, by what has happened."""
        for event in dict.fromkeys(event for one in after_s for event in one):
            values = [one[event] for one in after_s if event in one]
            self._results |= median_and_worst(f"{prefix}_{event}_s", values)
        self._checks[part] = check

    def outcome(self) -> Outcome:
        """Everything, with the ratios of both paths."""
        for name in ("pipelined_per_s", "round_trip_p50_ms", "values_1mb_mb_per_s"):
            within, between = (self._results.get(f"{path}_{name}") for path in PATHS)
            if within and between:
                figure = name.removesuffix("_per_s").removesuffix("_mb").removesuffix("_ms")
                self._results[f"between_over_within_{figure}"] = between / within
        return Outcome(self._results, check_of(self._checks), tuple(dict.fromkeys(self.notes)))


@dataclass(frozen=True, slots=True)
class Places:
    """Two nodes of a cluster."""

    address: str
    near: str
    """The id of the node of the driver."""
    far: str
    """The id of another node."""
    cluster: NodeCluster | None
    """The cluster, if it may lose nodes."""

    def note(self, tally: Tally) -> None:
        """Say how much a loss here is like that of a machine."""
        if self.cluster is None:
            tally.notes.append(NOT_LOST)
        elif not self.cluster.is_apart:
            tally.notes.append(SAME_SPACE)


@contextlib.contextmanager
def places(params: Params) -> Iterator[Places]:
    """Two nodes: of the cluster at `address` if the parameters have one, otherwise of an own one.

    Raises `RuntimeError` for a cluster with one node.
    """
    address = params.get("address")
    if address is None:
        with node_cluster() as cluster:
            far = cluster.add()
            yield Places(cluster.address, cluster.head_id, far.node_id, cluster)
        return
    near, others = _nodes_of(address)
    if not others:
        raise RuntimeError(
            f"the cluster at {address} has one node with processors, and this bench needs two."
        )
    yield Places(address, near, others[0], None)


def _nodes_of(address: str) -> tuple[str, list[str]]:
    """The node of this process, and the others that have a processor."""
    import ray

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        near: str = ray.get_runtime_context().get_node_id()
        known: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        able = [node for node in known if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    finally:
        ray.shutdown()
    return near, sorted(str(node["NodeID"]) for node in able if node["NodeID"] != near)
