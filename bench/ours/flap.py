"""`flap`: many children of one supervisor fail repeatedly, with back-off, at the same time.

Meanwhile the driver asks three probes that must stay fast, each every 10 ms: the supervising actor
itself, the host (the query of `callboard tree`), and a healthy sibling.
"""

import asyncio
import time
from typing import Any, ClassVar

import callboard
from bench.outcome import Outcome, Params, check_of
from bench.timing import NS_PER_MS, percentile
from callboard import Actor, Context, Contract, Ref, Request, System, handler
from callboard.actors.kernel.props import props
from callboard.messages.control.control_plane import CONTROL_CELL
from callboard.messages.control.views import QueryHost
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Address
from callboard.runtime.api.inside import host_of
from callboard.supervision import Backoff, Intensity, SupervisorSpec

__all__ = ["run"]

HOST = 1
PROBE_EVERY_S = 0.01
ANSWER_TIMEOUT_S = 30.0
START_TIMEOUT_S = 120.0
STARTS: dict[int, int] = {}
"""The number of starts of each flapping actor, in the process of their host."""


class Fail(Contract):
    """Makes a flapping actor fail."""


class Flapper(Actor):
    """Fails as soon as it runs."""

    def __init__(self, number: int) -> None:
        STARTS[number] = STARTS.get(number, 0) + 1

    async def started(self, ctx: Context) -> None:
        """Trigger the next failure."""
        ctx.self_ref.tell(Fail())

    @handler
    async def fail(self, message: Fail) -> None:
        """Fail."""
        raise RuntimeError("flapping on purpose")


class Well(Contract):
    """An answer."""


class AreYouWell(Request[Well]):
    """Ask an actor that must stay fast."""


class Healthy(Actor):
    """Never fails."""

    @handler
    async def well(self, request: AreYouWell) -> Well:
        """Answer."""
        return Well()


class Flock(Contract):
    """The healthy sibling."""

    healthy: Ref[Any]


class StartFlock(Request[Flock]):
    """Start so many flapping actors."""

    count: int


class Restarts(Contract):
    """The restarts: of all actors together, and the fewest of one actor."""

    actors: int
    total: int
    fewest: int


class ReadRestarts(Request[Restarts]):
    """Ask for the restarts."""


class Parent(Actor):
    """Supervises the flapping actors."""

    supervision: ClassVar[SupervisorSpec] = SupervisorSpec(
        intensity=Intensity(restarts=1_000_000, period_s=1.0), backoff=Backoff(max_s=0.5)
    )

    @handler
    async def start(self, request: StartFlock, ctx: Context) -> Flock:
        """Start the healthy one first, then all that flap."""
        healthy = await ctx.spawn(Healthy)
        for number in range(request.count):
            await ctx.spawn(props(Flapper, number))
        return Flock(healthy=healthy)

    @handler
    async def well(self, request: AreYouWell) -> Well:
        """Answer, as the supervisor."""
        return Well()

    @handler
    async def read(self, request: ReadRestarts) -> Restarts:
        """The restarts so far, without the first starts."""
        starts = STARTS.values()
        return Restarts(actors=len(starts), total=sum(starts) - len(starts), fewest=min(starts) - 1)


class Probe:
    """Asks one actor every 10 ms, even while earlier asks are open."""

    def __init__(self, name: str, system: System, address: Address, request: Request[Any]) -> None:
        self.name = name
        self.took_ms: list[float] = []
        self.unanswered = 0
        self._system = system
        self._address = address
        self._request = request

    async def run(self, seconds: int) -> None:
        """Ask for so many seconds, then wait for open asks."""
        async with asyncio.TaskGroup() as group:
            next_s = time.monotonic()
            end_s = next_s + seconds
            while next_s < end_s:
                group.create_task(self._ask())
                next_s += PROBE_EVERY_S
                await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    async def _ask(self) -> None:
        start_ns = time.perf_counter_ns()
        try:
            await host_of(self._system).ask(self._address, self._request, ANSWER_TIMEOUT_S)
        except CallboardError:
            self.unanswered += 1
        else:
            self.took_ms.append((time.perf_counter_ns() - start_ns) / NS_PER_MS)

    def results(self) -> dict[str, float]:
        """The figures of this probe."""
        return {
            f"{self.name}_ms_p99": percentile(self.took_ms, 99),
            f"{self.name}_ms_worst": max(self.took_ms),
        }


def run(params: Params) -> Outcome:
    """Probe one host with one supervisor."""

    async def main(system: System) -> Outcome:
        parent = await system.spawn(Parent, host=HOST)
        start = StartFlock(count=params["actors"])
        flock = await parent.ask(start, timeout_s=START_TIMEOUT_S)
        before = await parent.ask(ReadRestarts())
        probes = [
            Probe("supervisor", system, parent.address, AreYouWell()),
            Probe("host_view", system, Address(HOST, CONTROL_CELL), QueryHost(actors_max=0)),
            Probe("sibling", system, flock.healthy.address, AreYouWell()),
        ]
        await asyncio.gather(*(probe.run(params["seconds"]) for probe in probes))
        after = await parent.ask(ReadRestarts())
        results = {"restarts_per_s": (after.total - before.total) / params["seconds"]}
        for probe in probes:
            results |= probe.results()
        done = {
            "actors": after.actors,
            "all_flapped": after.fewest > 0,
            "unanswered": sum(probe.unanswered for probe in probes),
        }
        return Outcome(results, check_of(done))

    return callboard.run(main, hosts=1, standbys=0)
