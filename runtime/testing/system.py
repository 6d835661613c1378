"""A whole system in a world: the driver's API, on simulated processes.

world = World(seed=7)

async def main() -> None:
    async with open_system(world, hosts=3) as simulated:
        await simulated.system.spawn(Worker)
        simulated.crash(2)                      # the host of slot 2 dies now
        ...

world.run(main())
world.close()
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from callboard.actors.kernel.host.host import Host
from callboard.messages.core.errors import UsageError

from ..api.inside import host_of, root_of
from ..api.system import System
from ..control_plane.root import Root
from ..executions.journals import JournalOpener, no_journal
from ..hosting.environment import Environment
from ..hosting.settings import Settings
from .engine import SimulatedEngine
from .loop import SimulatedLoop
from .network import Network, NetworkFaults
from .process import SimulatedProcess
from .world import World

__all__ = ["SimulatedSystem", "open_system"]


class SimulatedSystem:
    """A running system, and its fault injector."""

    def __init__(self, system: System, engine: SimulatedEngine) -> None:
        self.system: Final = system
        self.engine: Final = engine
        self.world: Final = engine.world
        self.network: Final = engine.network

    @property
    def root(self) -> Root:
        """The root supervisor."""
        return root_of(self.system)

    def living(self) -> Iterator[Host]:
        """The control host, and the living hosts of all slots."""
        control = self.engine.control
        assert control is not None
        yield control
        for slot in self.root.table.slots:
            process = self.engine.process_of(slot)
            if process is not None and process.host is not None:
                yield process.host

    def process(self, slot: int) -> SimulatedProcess:
        """The living process of a slot (from 1); raises `UsageError`."""
        found = self.engine.process_of(slot)
        if found is None:
            raise UsageError(
                f"slot {slot} has no living process.", advice="Wait until its host is up."
            )
        return found

    def host(self, slot: int) -> Host:
        """The host of a slot; 0 is the driver's. Raises `UsageError`."""
        if slot == 0:
            return host_of(self.system)
        host = self.process(slot).host
        assert host is not None
        return host

    def loop(self, slot: int) -> SimulatedLoop:
        """The event loop of a slot's process; 0 is the driver's. Raises `UsageError`."""
        return self.world.driver if slot == 0 else self.process(slot).loop

    def crash(self, slot: int) -> None:
        """Kill the process of a slot at once, without notice."""
        self.process(slot).die("crashes")

    def hang(self, slot: int, seconds: float) -> None:
        """Hang the process of a slot for some seconds."""
        loop = self.loop(slot)
        self.world.trace.note(self.world.now_s, f"{loop.name} hangs for {seconds:.3f} s")
        self.world.pause(loop, seconds)

    def slow(self, slot: int, step_cost_s: float) -> None:
        """Let each step of a slot's process take `step_cost_s` from now on; 0 ends that."""
        loop = self.loop(slot)
        self.world.trace.note(self.world.now_s, f"{loop.name} takes {step_cost_s:.6f} s a step")
        loop.step_cost_s = step_cost_s

    def cut(self, slot: int, other: int, *, both: bool = True) -> None:
        """Cut the route from one slot's host to another's, in both directions with `both`."""
        self.network.cut(self.loop(slot), self.loop(other), both=both)

    def heal(self) -> None:
        """End all cuts and all faults of the network."""
        self.network.heal_all()


@contextlib.asynccontextmanager
async def open_system(
    world: World,
    *,
    network_faults: NetworkFaults | None = None,
    on_host: Callable[[Host], None] | None = None,
    environment: Environment | None = None,
    open_journal: JournalOpener = no_journal,
    nodes: int = 1,
    **options: Any,
) -> AsyncIterator[SimulatedSystem]:
    """Start a system on the running loop of `world`, and stop it at the end.

    `options` are the fields of `Settings`; with more than one of the `nodes`, the driver has node 0
    to itself. Raises what `callboard.start` raises.
    """
    settings = Settings(engine="inline", **options)
    network = Network(world) if network_faults is None else Network(world, network_faults)
    engine = SimulatedEngine(world, settings, network, environment=environment, on_host=on_host)
    engine.node_count = nodes
    system = System(settings, engine, engine.environment, open_journal=open_journal)
    try:
        await system.open()
        yield SimulatedSystem(system, engine)
    finally:
        await system.close(settings.stop_timeout_s)
