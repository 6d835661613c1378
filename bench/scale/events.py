"""The events of a system with so many hosts, each counted on its own.

Between two events the system comes to rest, so that acknowledgements count for the event that has
caused them. Heartbeats are rare (`HEARTBEAT_S`) and counted by themselves.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from bench.scale.counting import Counts, Meter, held_bytes
from callboard import Actor, Contract, Request, handler
from callboard.actors.kernel.directory.registry import Directory
from callboard.messages.control.hosts import HostSpec
from callboard.messages.control.routing import Routing, RoutingKind, consistent_hash
from callboard.messages.control.views import QuerySystem
from callboard.messages.core.ref import Address
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.api.system import System
from callboard.runtime.control_plane.control import ROOT_ENDPOINT
from callboard.runtime.executions.journals import no_journal
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.engine import SimulatedEngine, environment_of
from callboard.runtime.testing.network import Network, NetworkFaults
from callboard.runtime.testing.world import World
from tests.simulation.detached.system import ROOT, DetachedSystem, Driver

__all__ = ["EVENTS", "ROUTINGS", "Scale", "measure", "routes"]

HEARTBEAT_S = 100_000.0
BEATS = 4
SETTLE_S = 5.0
"""Longer than an acknowledgement may wait, and than a repetition of a frame."""
STEP_S = 0.001
UP_WITHIN_S = 100_000.0
STREAMS = NetworkFaults(streams=1.0)
ROUTED = 2_000
SEED = 1
EVENTS = ("start", "join", "loss", "spawn", "pool", "resize", "tree", "attach", "adopt")
ROUTINGS = tuple(kind.value for kind in RoutingKind)


class Done(Contract, name="bench.scale.done"):
    """Nothing to say."""


class Work(Request[Done], name="bench.scale.work"):
    """A request with a key."""

    key: str = ""


class Worker(Actor):
    """Answers."""

    @handler
    async def work(self, _request: Work) -> Done:
        """Give the answer."""
        return Done()


class Scale:
    """The figures of one number of hosts."""

    def __init__(self) -> None:
        self.counts: dict[str, Counts] = {}
        self.root_bytes = 0
        self.host_bytes = 0
        self.heartbeat_us = 0.0
        """The time for one heartbeat of one host, on both sides."""


def measure(hosts: int) -> Scale:
    """Count every event in systems with so many hosts."""
    scale = Scale()
    with _world() as world:
        world.run(_plain(world, hosts, scale))
    with _world() as world:
        world.run(_detached(world, hosts, scale))
    return scale


@contextlib.contextmanager
def _world() -> Iterator[World]:
    world = World(SEED)
    try:
        yield world
    finally:
        # Without an orderly stop: it has a cost of its own.
        world.close()


def _settings(hosts: int) -> Settings:
    return Settings(
        engine="inline",
        name="sim",
        hosts=hosts,
        standbys=1,
        heartbeat_s=HEARTBEAT_S,
        start_timeout_s=UP_WITHIN_S,
        ask_timeout_s=UP_WITHIN_S,
    )


async def _plain(world: World, hosts: int, scale: Scale) -> None:
    settings = _settings(hosts)
    network = Network(world, STREAMS)
    engine = SimulatedEngine(world, settings, network)
    meter = Meter(world, network, lambda: world.driver)
    system = System(settings, engine, engine.environment, open_journal=no_journal)

    async def counted(event: str, happen: Callable[[], Awaitable[Any]]) -> Any:
        return await _counted(world, meter, scale, event, happen)

    meter.keeps_frames = False
    await counted("start", system.open)
    meter.keeps_frames = True
    root, control = root_of(system), host_of(system)
    await system.spawn(Worker, host=1)
    await asyncio.sleep(SETTLE_S)

    async def join() -> None:
        spec = HostSpec(f"host-{hosts + 1}")
        slot = root.table.add_slot(spec.name)
        root.registrar.directory_changed()
        await root.hosts.add(slot, spec)

    async def loss() -> None:
        process, slot = engine.process_of(1), root.table.slots[1]
        assert process is not None
        process.die("is lost")
        while slot.epoch == 1 or not slot.is_up:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(STEP_S)

    await counted("join", join)
    await counted("loss", loss)
    await counted("spawn", lambda: system.spawn(Worker, name="named"))
    pool = await counted("pool", lambda: system.pool(Worker, size=hosts))
    await counted("resize", lambda: pool.resize(hosts + 1))
    await counted("tree", lambda: control.ask(ROOT_ENDPOINT, QuerySystem()))
    scale.root_bytes = held_bytes(control, (root,))
    last = engine.process_of(hosts)
    assert last is not None
    assert last.host is not None
    scale.host_bytes = held_bytes(last.host)
    await _heartbeats(hosts, scale)


async def _heartbeats(hosts: int, scale: Scale) -> None:
    """In a while in which nothing else happens."""
    began_ns = time.thread_time_ns()
    await asyncio.sleep(BEATS * HEARTBEAT_S)
    scale.heartbeat_us = (time.thread_time_ns() - began_ns) / 1e3 / (BEATS * hosts)


async def _detached(world: World, hosts: int, scale: Scale) -> None:
    system = DetachedSystem(
        world, _settings(hosts), environment_of(world), lambda _host: None, STREAMS
    )
    root_process = system.root_process
    meter = Meter(world, system.network, lambda: root_process.loop)
    meter.keeps_frames = False
    await system.start()
    await asyncio.sleep(SETTLE_S)
    meter.keeps_frames = True

    async def stays(_driver: Driver) -> None:
        await asyncio.sleep(UP_WITHIN_S)

    async def attach() -> None:
        driver = system.begin(stays)
        while not driver.is_attached or (  # noqa: ASYNC110 - there is no event
            driver.slot not in system.root.table.attached_drivers
        ):
            await asyncio.sleep(STEP_S)

    async def adopt() -> None:
        system.crash(ROOT)
        while not system.is_up():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(STEP_S)

    await _counted(world, meter, scale, "attach", attach)
    await _counted(world, meter, scale, "adopt", adopt)
    if root_process.deaths != 1:
        msg = f"the root died {root_process.deaths} times: the seed makes its first return fail"
        raise AssertionError(msg)


async def _counted(
    world: World, meter: Meter, scale: Scale, event: str, happen: Callable[[], Awaitable[Any]]
) -> Any:
    meter.begin()
    result = await happen()
    ended_s = world.now_s
    await asyncio.sleep(SETTLE_S)
    scale.counts[event] = meter.end(ended_s)
    return result


# --- routes ---------------------------------------------------------------------------------


def routes(hosts: int) -> dict[str, tuple[float, float]]:
    """For each routing: milliseconds for the first route, and microseconds for each later one.

    There is one offer on each host. The times are those of one sender's host.
    """
    return {kind.value: _route(hosts, kind) for kind in RoutingKind}


def _route(hosts: int, kind: RoutingKind) -> tuple[float, float]:
    addresses = [Address(slot, slot) for slot in range(1, hosts + 1)]
    match kind:
        case RoutingKind.CONSISTENT_HASH:
            routing = consistent_hash("key")
        case RoutingKind.KEYED:
            routing = Routing(kind, "key", tuple((at.slot, at.cell) for at in addresses))
        case _:
            routing = Routing(kind)
    name = Work.contract_name
    owner: Any = None  # No ask is made.
    directory = Directory(owner, lambda: None)
    directory.replace(
        1, {}, {name: addresses}, dict.fromkeys(addresses, 1), (), {name: routing.to_text()}
    )
    messages = [Work(key=str(number)) for number in range(ROUTED)]
    began_ns = time.thread_time_ns()
    directory.route(messages[0])
    first_ns = time.thread_time_ns() - began_ns
    began_ns = time.thread_time_ns()
    for message in messages:
        directory.route(message)
    return first_ns / 1e6, (time.thread_time_ns() - began_ns) / ROUTED / 1e3
