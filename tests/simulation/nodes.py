"""The scenario of nodes that come, drain and leave while a system works on them.

A planned departure is announced, and the node goes at its deadline; a sudden one is not. Whatever
comes and goes, a key has one activation at a time, and in the end the hosts are where the CPUs are.
With planned departures only, no ask fails, and no acknowledged work is lost.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.keyed.actor import KeyedActor
from callboard.messages.control.hosts import AutoHosts, ProcessOrder
from callboard.messages.control.nodes import Node
from callboard.messages.control.routing import Routing
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, ClusterError
from callboard.messages.ports import HostProcess
from callboard.messages.storage.keyed_stores import EncodedState, LoadedState, MemoryStore
from callboard.runtime.api.inside import root_of
from callboard.runtime.api.system import System
from callboard.runtime.control_plane.node_plan import SETTLE_S, SHRINK_S, SUSPECT_S
from callboard.runtime.executions.journals import no_journal
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.testing.engine import SimulatedEngine
from callboard.runtime.testing.network import Network
from callboard.runtime.testing.world import World

__all__ = ["NodesEngine", "Outcome", "Ping", "Plain", "nodes_come_and_go", "unevenly_spread"]

KEYS: Final = 5
NOTICE_S: Final = 20.0
"""The least time between the notice of a departure and the departure."""
BUSY_S: Final = 90.0
SETTLED_S: Final = SUSPECT_S + SHRINK_S + 2 * SETTLE_S + 30.0
SPREAD_S: Final = 10.0
STORES: Final[dict[int, MemoryStore]] = {}


class Tally(Contract, name="nodes.tally"):
    """The count so far."""

    count: int


class Tick(Request[Tally], name="nodes.tick"):
    """Count one more for a key."""

    key: str


class Ping(Request[Tally], name="nodes.ping"):
    """Take a while."""


class OutsideStore:
    """A store outside all nodes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    async def load(self, kind: str, key: str) -> LoadedState:
        """See `KeyedStore`."""
        return await STORES[self.seed].load(kind, key)

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        """See `KeyedStore`."""
        return await STORES[self.seed].save(kind, key, state, version)


class Meter(KeyedActor):
    """Counts; no other activation of its key may run meanwhile."""

    key: ClassVar[str] = "key"

    def __init__(self) -> None:
        self._count = 0

    def restore(self, state: Tally | None) -> None:
        """Restore the count."""
        self._count = 0 if state is None else state.count

    def snapshot(self) -> Tally:
        """The state to keep."""
        return Tally(count=self._count)

    @handler
    async def tick(self, request: Tick) -> Tally:
        """Count one more, and take a while."""
        loop: Any = asyncio.get_running_loop()
        outcome: Outcome = loop.world.recorder
        other = outcome.active.get(request.key)
        if other is not None and not other.is_dead:
            outcome.problems.append(f"key {request.key} is active twice")
        outcome.active[request.key] = loop
        self._count += 1
        await asyncio.sleep(0.05)
        outcome.active.pop(request.key, None)
        return Tally(count=self._count)


class Plain(Actor):
    """Has no state."""

    @handler
    async def ping(self, request: Ping) -> Tally:
        """Take a while."""
        await asyncio.sleep(0.05)
        return Tally(count=1)


class Outcome:
    """What happened in one run."""

    def __init__(self) -> None:
        self.active: dict[str, Any] = {}
        self.acknowledged: Counter[str] = Counter()
        self.failed: list[str] = []
        self.problems: list[str] = []
        self.moves = 0
        """Hosts that were taken over without a loss."""
        self.events: list[str] = []


class NodesEngine(SimulatedEngine):
    """Processes on nodes."""

    has_nodes = True
    is_elastic = True

    def __init__(self, world: World, settings: Settings, start: Sequence[Node]) -> None:
        super().__init__(world, settings, Network(world))
        self.known: dict[str, Node] = {node.id: node for node in start}
        self.until_s: dict[str, float] = {}
        """When draining nodes go."""
        self.silent: set[str] = set()
        """Nodes that are cut off: nothing starts there, and nobody knows it."""

    async def nodes(self) -> Sequence[Node]:
        """The nodes of now."""
        now_s = self.world.now_s
        return [
            replace(node, drains_in_s=max(0.0, self.until_s[name] - now_s))
            if name in self.until_s
            else node
            for name, node in self.known.items()
        ]

    async def start_process(
        self,
        number: int,
        order: ProcessOrder | None = None,
        *,
        is_standby: bool = False,
        node: str = "",
    ) -> HostProcess:
        """Start one more process; it fails when its node goes meanwhile."""
        if node in self.silent:
            await asyncio.sleep(self.settings.start_timeout_s)
            raise ClusterError(f"node {node} does not answer.", advice="")
        started = await super().start_process(number, order, is_standby=is_standby, node=node)
        if node not in self.known or node in self.until_s:
            await started.kill()
            raise ClusterError(f"node {node} takes no process.", advice="")
        if not self.known[node].room:
            self.world.recorder.problems.append(f"a process starts on {node}, without CPUs")
        return started

    def leave(self, name: str) -> None:
        """A node goes, with all that runs there."""
        self.known.pop(name, None)
        self.until_s.pop(name, None)
        for process in self.processes:
            if process.node == name:
                process.die("goes with its node")

    def default_hosts(self) -> int:
        """One for each CPU."""
        return max(1, sum(node.room for node in self.known.values()))


def nodes_come_and_go(
    seed: int, *, sudden: bool, limits: AutoHosts | None, shares: int = 0
) -> Outcome:
    """Run one seed; `limits` None for as many hosts as at the start. With `shares`, keys move."""
    world = World(seed)
    outcome = world.recorder = Outcome()
    STORES[seed] = MemoryStore()
    try:
        world.run(_main(world, outcome, sudden=sudden, limits=limits, shares=shares))
    finally:
        world.close()
        del STORES[seed]
    return outcome


async def _main(
    world: World, outcome: Outcome, *, sudden: bool, limits: AutoHosts | None, shares: int
) -> None:
    start = [Node("head", cpus=0), Node("n0", cpus=2), Node("n1", cpus=1)]
    settings = Settings(engine="inline", hosts=limits)
    engine = NodesEngine(world, settings, start)
    system = System(settings, engine, engine.environment, open_journal=no_journal)
    try:
        await system.open()
        store = OutsideStore(world.seed)
        keyed = await system.keyed(Meter, store=store, save_every=1, shares=shares)
        plain = [await system.spawn(Plain) for _ in range(4)]
        is_over = asyncio.Event()
        asks = [
            *(_ticks(world, outcome, keyed, f"k{i}", is_over) for i in range(KEYS)),
            *(_pings(world, outcome, ref, is_over) for ref in plain),
        ]
        load = [asyncio.ensure_future(each) for each in asks]
        await _change(world, engine, outcome, sudden=sudden)
        is_over.set()
        await asyncio.gather(*load)
        await _check(world, engine, system, outcome, limits)
        if shares:
            until_s = world.now_s + SPREAD_S
            while problem := unevenly_spread(system, Tick.contract_name):
                if world.now_s > until_s:
                    outcome.problems.append(problem)
                    break
                await asyncio.sleep(1.0)
        for key, count in outcome.acknowledged.items():
            tally = await keyed.ask(Tick(key=key))
            if not sudden and tally.count != count + 1:
                outcome.problems.append(f"{key} has {tally.count - 1} of {count}")
        outcome.moves = sum(slot.epoch - 1 for slot in root_of(system).table.slots.values())
        outcome.moves -= root_of(system).lost_hosts
    finally:
        await system.close(30.0)


def unevenly_spread(system: System, contract: str) -> str:
    """What is wrong with the places of the shares of keyed actors; empty when nothing is."""
    table = root_of(system).table
    routing = Routing.from_text(table.routings[contract])
    had = dict.fromkeys(table.shared(), 0)
    for owner in routing.owners:
        slot = routing.places[owner][0]
        if slot not in had:
            return f"a share is on host {slot}, which is gone: {routing.to_text()}"
        had[slot] += 1
    return f"hosts have {had} shares" if max(had.values()) - min(had.values()) > 1 else ""


async def _ticks(
    world: World, outcome: Outcome, keyed: Any, key: str, is_over: asyncio.Event
) -> None:
    async def tick() -> None:
        await keyed.ask(Tick(key=key), timeout_s=30.0)
        outcome.acknowledged[key] += 1

    await _repeat(world, outcome, tick, is_over)


async def _pings(world: World, outcome: Outcome, ref: Any, is_over: asyncio.Event) -> None:
    async def ping() -> None:
        await ref.ask(Ping(), timeout_s=30.0)

    await _repeat(world, outcome, ping, is_over)


async def _repeat(
    world: World, outcome: Outcome, ask: Callable[[], Any], is_over: asyncio.Event
) -> None:
    while not is_over.is_set():
        try:
            await ask()
        except CallboardError as error:
            outcome.failed.append(f"{world.now_s:.3f} s: {error}")
        await asyncio.sleep(0.05 + 0.4 * world.random.random())


async def _change(world: World, engine: NodesEngine, outcome: Outcome, *, sudden: bool) -> None:
    """Let nodes come and go at drawn moments."""
    draw, number, ends_s = world.random.random, 1, world.now_s + BUSY_S

    def note(what: str) -> None:
        world.trace.note(world.now_s, what)
        outcome.events.append(f"{world.now_s:.1f} s: {what}")

    while world.now_s < ends_s:
        await asyncio.sleep(12.0 * draw())
        staying = [n for n, node in engine.known.items() if node.room and n not in engine.until_s]
        if len(staying) < 2 or draw() < 0.45:
            number += 1
            name = f"n{number}"
            engine.known[name] = Node(name, cpus=(1, 1, 2, 3)[int(4 * draw())])
            note(f"{name} joins")
            continue
        name = staying[int(draw() * len(staying))]
        if sudden and draw() < 0.5:
            note(f"{name} is lost")
            engine.leave(name)
            continue
        engine.until_s[name] = world.now_s + NOTICE_S + 20.0 * draw()
        note(f"{name} drains")
        world.at(engine.until_s[name], engine.leave, name)


async def _check(
    world: World,
    engine: NodesEngine,
    system: System,
    outcome: Outcome,
    limits: AutoHosts | None,
) -> None:
    """Wait until the hosts are where the CPUs are."""
    slots, until_s = root_of(system).table.slots, world.now_s + SETTLED_S
    why = "it never settles"
    while world.now_s < until_s:
        await asyncio.sleep(1.0)
        there = Counter(slot.process.node for slot in slots.values() if slot.is_up)
        rooms = {name: node.room for name, node in engine.known.items() if node.room}
        if engine.until_s or not all(slot.is_up for slot in slots.values()):
            continue
        if limits is None or limits.idle_s or limits.at_most < sum(rooms.values()):
            is_right = set(there) <= set(rooms)
        else:
            # Hosts with actors stay, even when there are more of them than CPUs.
            is_right = all(there[name] >= room for name, room in rooms.items())
            is_right &= set(there) <= set(rooms)
        if is_right:
            with contextlib.suppress(CallboardError):
                await system.view()
            return
        why = f"hosts are on {dict(there)}, CPUs on {rooms}"
    outcome.problems.append(why)
