"""Starts processes: Ray actors, each on its node or where Ray finds what was ordered.

Ray's client asks its control store in the caller's thread, 1 to 80 ms for each question. All of
that is done in threads here: an event loop that also runs the root would be silent meanwhile.
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

__all__ = [
    "CALLS_MAX",
    "CONTROL_CALLS_MAX",
    "check_order",
    "create",
    "taken_now",
    "wait_until_ready",
]

CAPACITY_EVERY_S: Final = 1.0
"""How often it is looked whether what a process waits for is still there at all."""
CONTROL_CALLS_MAX: Final = 4
CALLS_MAX: Final = 10_000
"""Calls of one host at once: frames of many peers, plus what stays outstanding."""


@functools.cache
def _host_class() -> Any:
    """What Ray starts as a host. Made once: each one made is exported to the whole cluster."""
    remote: Any = ray.remote  # Ray's types do not know `concurrency_groups`.
    return remote(concurrency_groups={"control": CONTROL_CALLS_MAX})(HostActor)


async def create(
    settings: Settings, name: str, number: int, order: ProcessOrder | None, life: Mapping[str, Any]
) -> Any:
    """The handle of a new Ray actor, which may not run yet; `life` are options of Ray's.

    When the caller is cancelled nothing of it is left.
    """

    def ask_ray() -> Any:
        return_free_pages()  # Of the process that this one replaces.
        options = _host_class().options(
            name=name,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=CALLS_MAX,
            **_place_for(number, order),
            **life,
        )
        return options.remote(settings, name)

    asked = asyncio.ensure_future(asyncio.to_thread(ask_ray))
    try:
        return await asyncio.shield(asked)
    except asyncio.CancelledError:
        # A thread cannot be cancelled: what it makes is ended.
        asked.add_done_callback(_end)
        raise


def _end(asked: "asyncio.Future[Any]") -> None:
    if not asked.cancelled() and asked.exception() is None:
        ray.kill(asked.result(), no_restart=True)


async def check_order(name: str, order: ProcessOrder | None) -> None:
    """Raises `ClusterError` that names what no node has, and for what a start would wait."""
    if order is not None:
        await asyncio.to_thread(_check_capacity, name, order)


async def taken_now(order: ProcessOrder) -> str:
    """For what an order waits that some node has, but not free."""
    return what_is_taken(order.resources, await asyncio.to_thread(_free))


async def wait_until_ready(
    handle: Any, name: str, order: ProcessOrder | None, limit_s: float
) -> Identity:
    """What the process is, once it runs.

    What is ordered may be taken by others for a while, which is told, or be lost with its
    node, which ends the wait with `ClusterError`. Raises `TimeoutError`.
    """
    ready = asyncio.ensure_future(handle.ready.remote())
    try:
        async with asyncio.timeout(limit_s):
            while order is not None and not ready.done():
                await asyncio.wait((ready,), timeout=CAPACITY_EVERY_S)
                if not ready.done():
                    await check_order(name, order)
                    order.on_waiting(await taken_now(order))
            identity: Identity = await ready
            return identity
    finally:
        ready.cancel()
        if order is not None:
            order.on_waiting("")


def _check_capacity(name: str, order: ProcessOrder) -> None:
    nodes: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    missing = what_is_missing(order.resources, nodes)
    if missing:
        raise ClusterError(
            f"{name} cannot be placed: {missing}.",
            advice="Ask for less, or add a node that has it; `ray status` shows what there is.",
        )


def _free() -> Mapping[str, float]:
    free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return free


def _place_for(number: int, order: ProcessOrder | None) -> dict[str, Any]:
    """Ray's options that say where a process runs and what it reserves."""
    if order is None:
        return {"num_cpus": 0, "scheduling_strategy": _node_for(number)}
    wanted = order.resources
    return {
        "num_cpus": wanted.cpus,
        "num_gpus": wanted.gpus,
        "memory": wanted.memory_bytes or None,
        "resources": dict(wanted.custom) or None,
        "label_selector": dict(wanted.node_labels) or None,
    }


def _node_for(number: int) -> Any:
    """Nodes in turn.

    Not soft: Ray then takes any node it likes. A node that is lost meanwhile fails the
    start, and the next one is tried on another.
    """
    known: Sequence[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = sorted((node for node in known if node["Alive"]), key=lambda node: str(node["NodeID"]))
    return NodeAffinitySchedulingStrategy(nodes[number % len(nodes)]["NodeID"], soft=False)
