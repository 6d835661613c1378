"""Ray's nodes as the control plane sees them, with those that drain.

Ray lists a node that drains as alive. That it drains, and until when, stands in the control store:
after `ray drain-node`, before the autoscaler (v2) or a spot market takes the node away, and when
`ray start` of a node gets a SIGTERM.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import ray.util
from ray._private import state as ray_state
from ray._private import worker as ray_worker  # The public API does not say which nodes drain.

from callboard.messages.control.nodes import NO_DEADLINE, Node

__all__ = ["node_address", "node_of", "read_nodes", "session_here"]


def node_address() -> str:
    """The address of this node, which is a part of the name of its resource `node:ADDRESS`."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def session_here() -> tuple[str, str]:
    """The address of the Ray that this process has started, and the folder of its session."""
    node: Any = ray_worker._global_node  # noqa: SLF001 - no public way
    return str(ray.get_runtime_context().gcs_address), str(node.get_session_dir_path())


def read_nodes() -> list[Node]:
    """All nodes that Ray knows. Queries the control store: not for an event loop."""
    # Not `ray.nodes()`, which starts a Ray of its own when this one has just been left.
    known: Sequence[Mapping[str, Any]] = ray_state.state.node_table()  # type: ignore[no-untyped-call]
    draining: Mapping[str, int] = ray_state.state.get_draining_nodes()
    now_ms = time.time() * 1000.0
    return [node_of(row, draining, now_ms) for row in known]


def node_of(row: Mapping[str, Any], draining: Mapping[str, int], now_ms: float) -> Node:
    """A node from a row of `ray.nodes()` and the deadlines of the nodes that drain.

    Deadlines are wall-clock times in milliseconds; 0 means none.
    """
    drains_in_s: float | None = None
    deadline_ms = draining.get(row["NodeID"])
    if deadline_ms is not None:
        drains_in_s = max(0.0, deadline_ms - now_ms) / 1000.0 if deadline_ms else NO_DEADLINE
    return Node(
        row["NodeID"],
        str(row.get("NodeName", "")),
        row["Resources"].get("CPU", 0.0),
        is_alive=bool(row["Alive"]),
        drains_in_s=drains_in_s,
    )
