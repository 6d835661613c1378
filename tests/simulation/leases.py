"""The scenario of leases: nodes that are cut, machines that sleep, clocks that run wrong.

Whatever happens, no process of a slot acts once it has a successor. A host that cannot be reached
is replaced after its lease, and one that has provably ended at once.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.actors.keyed.actor import StoreActor
from callboard.messages.control.spec import Backoff, Intensity, SupervisorSpec
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, UsageError
from callboard.messages.core.ref import Ref
from callboard.runtime.hosting.lease import CLOCK_RATE_MAX, takeover_s
from callboard.runtime.testing.system import SimulatedSystem, open_system

from .keys import Account, Add
from .run import Run
from .scenario_fixture import LIMITS

__all__ = ["leases"]

HOSTS: Final = 3
NODES: Final = 4
LEASE_S: Final = 4.0
HEARTBEAT_S: Final = 0.4
MISSED_MAX: Final = 4
FAULTS_S: Final = 12.0
"""The time in which faults begin."""
FAULT_MAX_S: Final = 9.0
"""The longest fault: longer than a lease with its margin."""
KINDS: Final = ("cut", "cut", "cut_out", "cut_in", "sleep", "stop", "crash", "root", "storm")
BACK_S: Final = 25.0
"""The time in which a healed system must be complete: a lease, and the start of a process."""
AT_ONCE_S: Final = 2.5
"""The time to take a slot over without a wait for a lease: at worst a process has to start."""
POLL_S: Final = 0.05


class Counted(Contract, name="leases.counted"):
    """How often an actor has acted."""

    times: int


class Count(Request[Counted], name="leases.count"):
    """Answer how often you have acted."""


class Tick(Contract, name="leases.tick"):
    """Act, and go on by yourself."""


class Acting(Actor):
    """Acts all the time, whether anybody reaches it or not."""

    def __init__(self) -> None:
        self._times = 0

    async def started(self, ctx: Context) -> None:
        """Begin to act."""
        ctx.send_every(0.02, Tick())

    @handler
    async def tick(self, _tick: Tick) -> None:
        """Act."""
        self._times += 1

    @handler
    async def count(self, _request: Count) -> Counted:
        """Answer."""
        return Counted(times=self._times)


@final
@dataclass(frozen=True, slots=True)
class _Fault:
    kind: str
    at_s: float
    slot: int
    seconds: float


def _drawn(draw: Callable[[], float]) -> list[_Fault]:
    count = 1 + int(draw() * 4)
    return [
        _Fault(
            KINDS[int(draw() * len(KINDS))],
            draw() * FAULTS_S,
            1 + int(draw() * HOSTS),
            FAULT_MAX_S * draw(),
        )
        for _ in range(count)
    ]


def _inject(system: SimulatedSystem, fault: _Fault) -> None:
    world, network = system.world, system.network
    node = system.process(fault.slot).loop.node
    match fault.kind:
        case "cut" | "cut_out" | "cut_in":
            system.engine.cut_node(node, out=fault.kind != "cut_in", into=fault.kind != "cut_out")
            world.at(world.now_s + fault.seconds, network.heal_node, node)
        case "sleep":
            for process in system.engine.processes:
                if process.loop.node == node and not process.loop.is_dead:
                    process.sleep(fault.seconds)
        case "stop":
            system.hang(fault.slot, fault.seconds)
        case "crash":
            system.crash(fault.slot)
        case "root":
            world.trace.note(world.now_s, f"the root is suspended for {fault.seconds:.3f} s")
            world.pause(world.driver, fault.seconds)
        case _:
            network.cut(world.driver, system.loop(fault.slot))
            world.at(
                world.now_s + fault.seconds, network.heal, world.driver, system.loop(fault.slot)
            )


async def leases(run: Run) -> None:
    """Nodes that are cut or asleep, stopped processes, a suspended root, deaths."""
    async with open_system(
        run.world,
        environment=run.environment,
        on_host=run.add_host,
        nodes=NODES,
        hosts=HOSTS,
        standbys=1,
        name="sim",
        heartbeat_s=HEARTBEAT_S,
        heartbeats_missed_max=MISSED_MAX,
        lease_s=LEASE_S,
        ask_timeout_s=3.0,
        stop_timeout_s=10.0,
        limits=LIMITS,
        host_supervision=SupervisorSpec(
            intensity=Intensity(restarts=100, period_s=30.0), backoff=Backoff(max_s=0.2)
        ),
    ) as simulated:
        run.watch(simulated)
        system = simulated.system
        store = await system.spawn(StoreActor, host=1)
        await system.keyed(Account, store=store, idle_s=0.5, save_every=1)
        actors = [await system.spawn(Acting, host=slot) for slot in range(1, HOSTS + 1)]
        for fault in _drawn(run.draw):
            run.world.at(run.world.now_s + fault.at_s, _begin, simulated, fault)
        watch = asyncio.ensure_future(_watch_ends(run, simulated))
        asks = [asyncio.ensure_future(_add(run, simulated)) for _ in range(10)]
        await asyncio.sleep(FAULTS_S + FAULT_MAX_S)
        simulated.heal()
        await asyncio.wait(asks)
        await _all_back(run, simulated, actors)
        watch.cancel()
        run.check_now()


def _begin(system: SimulatedSystem, fault: _Fault) -> None:
    with contextlib.suppress(UsageError):  # The process is down now.
        _inject(system, fault)


async def _add(run: Run, simulated: SimulatedSystem) -> None:
    await asyncio.sleep(run.draw() * FAULTS_S)
    log = run.message_log
    timeout_s = 0.5 + 3.0 * run.draw()
    record = log.new_ask(timeout_s)
    request = Add(account=f"account-{1 + int(run.draw() * 3)}", number=record.number)
    with contextlib.suppress(CallboardError):
        await simulated.system.ask(request, timeout_s=timeout_s)


async def _all_back(run: Run, simulated: SimulatedSystem, actors: list[Ref[Any]]) -> None:
    """Every actor answers again in time."""
    until_s = run.world.now_s + BACK_S
    for actor in actors:
        while True:
            try:
                await actor.ask(Count(), timeout_s=2.0)
                break
            except CallboardError as error:
                if run.world.now_s > until_s:
                    run.complain("it_ends", f"{actor.address} does not come back: {error}")
                    return
                await asyncio.sleep(POLL_S)
    down = [slot.name for slot in simulated.root.table.slots.values() if not slot.is_up]
    if down:
        run.complain("it_ends", f"{down} are down")


async def _watch_ends(run: Run, simulated: SimulatedSystem) -> None:
    """Complain of a slot that waits without a reason, or for too long."""
    world, root = run.world, simulated.root
    down_since_s: dict[int, float] = {}
    proven_since_s: dict[int, float] = {}
    limit_s = (takeover_s(LEASE_S) + HEARTBEAT_S) * (1.0 + 2.0 * CLOCK_RATE_MAX) + AT_ONCE_S
    paused_s = 0.0
    while True:
        before_s = world.now_s
        await asyncio.sleep(POLL_S)
        if world.now_s - before_s > 2.0 * POLL_S:  # The root was suspended, and this with it.
            paused_s = world.now_s
            down_since_s.clear()
            proven_since_s.clear()
        for slot in root.table.slots.values():
            if slot.is_up:
                down_since_s.pop(slot.number, None)
                proven_since_s.pop(slot.number, None)
                continue
            since_s = down_since_s.setdefault(slot.number, world.now_s)
            if world.now_s - max(since_s, paused_s) > 2.0 * limit_s:
                run.complain("lost_in_time", f"{slot.name} is down since {since_s:.3f} s")
            if any(
                one.host is not None and one.host.slot == slot.number and not one.has_ended
                for one in simulated.engine.processes
            ):
                proven_since_s.pop(slot.number, None)
                continue
            since_s = proven_since_s.setdefault(slot.number, world.now_s)
            if world.now_s - since_s > 2.0 * AT_ONCE_S:
                run.complain("proof_moves_at_once", f"{slot.name} waits since {since_s:.3f} s")
