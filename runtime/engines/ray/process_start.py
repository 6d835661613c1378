"""Starts processes: Ray actors, each on a given node or where Ray finds the ordered resources.

They reserve nothing by themselves. A node on which an actor runs is not idle for Ray's autoscalers.

Ray's client queries its control store in the caller's thread, 1 to 80 ms for each query. All
queries run in other threads here, so that the event loop of the root keeps running.
"""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from callboard.messages.control.hosts import ProcessOrder
from callboard.messages.core.errors import ClusterError

from ...hosting.memory import return_free_pages
from ...hosting.settings import Settings
from ...transport.process_watch import Identity
from .capacity import what_is_missing, what_is_taken
from .host_actor import HostActor
from .release import release_of, this_release
from .release_check import check_release, node_of, node_title

__all__ = [
    "CALLS_MAX",
    "CONTROL_CALLS_MAX",
    "check_order",
    "create",
    "taken_now",
    "wait_until_ready",
]

CAPACITY_EVERY_S: Final = 1.0
"""How often the cluster is checked for the resources that a process waits for."""
CONTROL_CALLS_MAX: Final = 4
CALLS_MAX: Final = 10_000
"""Concurrent calls of one host: frames of many peers, and the outstanding ones."""


@functools.cache
def _host_class() -> Any:
    """The Ray class of a host. Made once, because Ray exports each one to the whole cluster."""
    remote: Any = ray.remote  # Ray's types do not know `concurrency_groups`.
    return remote(concurrency_groups={"control": CONTROL_CALLS_MAX})(HostActor)


async def create(
    settings: Settings,
    name: str,
    node: str,
    order: ProcessOrder | None,
    lifetime: Mapping[str, Any],
) -> Any:
    """Create a Ray actor and return its handle; the actor may not run yet.

    `lifetime` are Ray's options. When the caller is cancelled, the actor is killed.
    """

    def ask_ray() -> Any:
        return_free_pages()  # The memory for the process that this one replaces.
        this_release()  # Its first call reads files.
        options = _host_class().options(
            name=name,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=CALLS_MAX,
            **_place_for(node, order),
            **lifetime,
        )
        return options.remote(settings, name)

    asked = asyncio.ensure_future(asyncio.to_thread(ask_ray))
    try:
        return await asyncio.shield(asked)
    except asyncio.CancelledError:
        # A thread cannot be cancelled: kill the actor that it makes.
        asked.add_done_callback(_end)
        raise


def _end(asked: "asyncio.Future[Any]") -> None:
    if not asked.cancelled() and asked.exception() is None:
        ray.kill(asked.result(), no_restart=True)


async def check_order(name: str, order: ProcessOrder | None) -> None:
    """Raise `ClusterError` that names the resources that no node has."""
    if order is not None:
        await asyncio.to_thread(_check_capacity, name, order)


async def taken_now(order: ProcessOrder) -> str:
    """The resources that an order waits for: some node has them, but not free."""
    return what_is_taken(order.resources, await asyncio.to_thread(_free))


async def wait_until_ready(
    handle: Any, name: str, order: ProcessOrder | None, limit_s: float
) -> Identity:
    """Wait until the process runs and return its identity.

    While other processes hold the ordered resources, `order.on_waiting` gets a text. Raises
    `ClusterError` when the resources are lost with their node, or when the node has another
    release of Callboard, Python or Ray than this process, and `TimeoutError`.
    """
    ready = asyncio.ensure_future(handle.ready.remote())
    try:
        async with asyncio.timeout(limit_s):
            while order is not None and not ready.done():
                await asyncio.wait((ready,), timeout=CAPACITY_EVERY_S)
                if not ready.done():
                    await check_order(name, order)
                    order.on_waiting(await taken_now(order))
            identity, theirs = _started(await ready)
            if release_of(theirs) != this_release():
                node = await asyncio.to_thread(node_of, handle)
                check_release(theirs, name, await asyncio.to_thread(node_title, node))
            return identity
    finally:
        ready.cancel()
        if order is not None:
            order.on_waiting("")


def _started(said: Any) -> tuple[Identity, Any]:
    """The identity and the release; no release from a process that is too old to say it."""
    match said:
        case (tuple() as identity, theirs):
            return Identity(*identity), theirs
        case _:
            return Identity(*said), None


def _check_capacity(name: str, order: ProcessOrder) -> None:
    nodes: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    missing = what_is_missing(order.resources, nodes)
    if missing:
        raise ClusterError(
            f"{name} cannot be placed: {missing}.",
            advice="Ask for less, or add a node that has it; `ray status` shows the resources.",
        )


def _free() -> Mapping[str, float]:
    free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return free


def _place_for(node: str, order: ProcessOrder | None) -> dict[str, Any]:
    """Ray's options for the node of a process and the resources that it reserves."""
    if order is None:
        # Not soft, which would let Ray take any node. When the node is lost meanwhile, the start
        # fails, and the next one is on another node.
        there = NodeAffinitySchedulingStrategy(node, soft=False) if node else "DEFAULT"
        return {"num_cpus": 0, "scheduling_strategy": there}
    wanted = order.resources
    return {
        "num_cpus": wanted.cpus,
        "num_gpus": wanted.gpus,
        "memory": wanted.memory_bytes or None,
        "resources": dict(wanted.custom) or None,
        "label_selector": dict(wanted.node_labels) or None,
    }
