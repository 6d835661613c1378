"""The composition root: chooses the adapters of a system. Ray is imported only when needed."""

from collections.abc import Callable

from callboard.messages.core.errors import CallboardError
from callboard.messages.ports import Engine

from ..detached.ports import AttachedDriver, DetachedSystems
from ..doctor.cluster import ClusterSeen, Here
from ..engines.inline import InlineEngine
from ..hosting.environment import REAL, Environment
from ..hosting.settings import Settings

__all__ = [
    "detached_systems",
    "enter",
    "environment_of",
    "make_engine",
    "node_here",
    "query_cluster",
]


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings name."""
    if settings.engine == "inline":
        return InlineEngine(settings)
    from ..engines.ray.engine import RayEngine

    return RayEngine(settings)


def environment_of(settings: Settings) -> Environment:
    """The environment of the engine that the settings name."""
    if settings.engine == "inline":
        return REAL
    from ..engines.ray.environment import RAY

    return RAY


def node_here(settings: Settings) -> str:
    """Ray's address of this node; empty when the system is on this machine alone."""
    if settings.engine == "inline" or settings.address is None:
        return ""
    from ..engines.ray.nodes import node_address

    return node_address()


def session_here() -> tuple[str, str]:
    """The address of the Ray that this process has started, and the folder of its session."""
    from ..engines.ray import nodes

    return nodes.session_here()


def detached_systems() -> DetachedSystems:
    """The detached systems of a cluster; only the Ray engine has them."""
    from ..engines.ray import detached_systems as entry

    return entry


def query_cluster(address: str, deadline_s: float) -> tuple[ClusterSeen, Here]:
    """What the head of a cluster says, and what counts here; `deadline_s` bounds each step.

    Raises `ClusterUnreachable` when none answers, and `SpecError` and `UsageError` for a text that
    is no address of one.
    """
    from ..engines.ray import cluster_probe

    seen = cluster_probe.query_head(address, deadline_s)
    return seen, cluster_probe.here()


async def enter(
    settings: Settings,
    environment: Environment,
    on_failed: Callable[[CallboardError], None],
    *,
    starts: bool,
) -> AttachedDriver:
    """See `Enter`."""
    from ..engines.ray import detached_systems as entry

    return await entry.enter(settings, environment, on_failed, starts=starts)
