"""Simulated runs of a user's scenario, with virtual time, seeds and faults.

    async def scenario(sim: Simulation) -> None:
        ref = await sim.system.spawn(Flaky)
        await asyncio.sleep(600)                  # ten minutes, in milliseconds
        assert (await ref.ask(HowOften())).starts == 5

    simulate(scenario, seed=7, faults=FaultPlan((Crash(at_s=60.0, host=1),)))

The same seed gives the same run. A failure carries the seed and the trace of its run as a
note, and `simulate(scenario, seed=...)` replays it.
"""

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from random import Random
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar, Unpack

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import DeadlineExceeded, UsageError

from ..api.inside import root_of
from ..api.system import System
from ..hosting.settings import SettingsOptions
from .network import NetworkFaults
from .plan import NO_FAULTS, FaultPlan, apply
from .probe import Answer, Probe, open_probe
from .system import SimulatedSystem, open_system
from .world import World

__all__ = ["Simulation", "simulate", "simulated"]

ResultT = TypeVar("ResultT")
P = ParamSpec("P")
LIMIT_S: Final = 7 * 24 * 3600.0
"""The limit of a scenario: a week of virtual time."""
UP_WITHIN_S: Final = 120.0
QUERY_EVERY_S: Final = 0.1
TRACE_LINES: Final = 30


class Simulation:
    """A running system in its own world, and its fault injector. Times are virtual."""

    def __init__(self, simulated: SimulatedSystem) -> None:
        self._simulated: Final = simulated

    @property
    def system(self) -> System:
        """The system, as in any driver."""
        return self._simulated.system

    @property
    def random(self) -> Random:
        """The random generator of the seed: its draws replay with the seed."""
        return self._simulated.world.random

    @property
    def now_s(self) -> float:
        """Virtual seconds since the start of the world."""
        return self._simulated.world.now_s

    async def probe(
        self, *contracts: type[Contract], answers: Mapping[type[Contract], Answer] | None = None
    ) -> Probe:
        """An actor of the test that records its messages; see `open_probe`."""
        return await open_probe(self.system, *contracts, answers=answers)

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    async def all_up(self, *, within_s: float = UP_WITHIN_S) -> None:
        """Wait until every host is up; raises `DeadlineExceeded`."""
        ends_s = self.now_s + within_s
        while any(not slot.is_up for slot in root_of(self.system).table.slots.values()):
            if self.now_s > ends_s:
                raise DeadlineExceeded(
                    f"not all hosts are up within {within_s:g} s.",
                    advice="The trace below shows what happened.",
                )
            await asyncio.sleep(QUERY_EVERY_S)

    # --- faults -------------------------------------------------------------------------------

    def apply(self, plan: FaultPlan) -> None:
        """Start a fault plan now."""
        apply(plan, self._simulated)

    def crash(self, host: int) -> None:
        """The process of a host dies now. Raises `UsageError` when it is down."""
        self._simulated.crash(host)

    def hang(self, host: int, seconds: float) -> None:
        """Hang the process of a host for some seconds."""
        self._simulated.hang(host, seconds)

    def slow(self, host: int, step_s: float) -> None:
        """Let each step of a host's process take `step_s` from now on; 0 ends that."""
        self._simulated.slow(host, step_s)

    def cut(self, host: int, other: int, *, both: bool = True) -> None:
        """Let nothing pass from one host to the other any more; 0 is the driver."""
        self._simulated.cut(host, other, both=both)

    def degrade_network(
        self, *, loss: float = 0.0, double: float = 0.0, reorder: float = 0.0
    ) -> None:
        """Let the network lose, repeat and reorder these shares of frames from now on."""
        self._simulated.network.faults = NetworkFaults(loss=loss, double=double, reorder=reorder)

    def heal(self) -> None:
        """End all cuts and all faults of the network."""
        self._simulated.heal()


Scenario: TypeAlias = Callable[[Simulation], Awaitable[ResultT]]


def simulate(
    scenario: Scenario[ResultT],
    *,
    seed: int = 0,
    faults: FaultPlan = NO_FAULTS,
    limit_s: float = LIMIT_S,
    **options: Unpack[SettingsOptions],
) -> ResultT:
    """Run a scenario in its own world and return its result.

    `options` are the fields of `Settings` (hosts, standbys, ...); `faults` begin with
    the scenario. Raises the scenario's error with the trace of the seed as a note, and
    `TimeoutError` after `limit_s` virtual seconds.
    """
    world = World(seed)
    wanted: dict[str, Any] = {"hosts": 2, **options}

    async def main() -> ResultT:
        async with open_system(world, **wanted) as simulated:
            apply(faults, simulated)
            async with asyncio.timeout(limit_s):
                return await scenario(Simulation(simulated))

    _refuse_running_loop()
    try:
        return world.run(main())
    except BaseException as error:
        error.add_note(_trace_of(world))
        raise
    finally:
        world.close()


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(
        "a simulation has its own event loops and cannot run inside another one.",
        advice="Call `simulate` from a plain function, or decorate the test with `@simulated`.",
    )


def _trace_of(world: World) -> str:
    lines = list(world.trace.lines)[-TRACE_LINES:]
    text = "\n".join(f"  {at_s:12.6f} s  {what}" for at_s, what in lines)
    return (
        f"simulated with seed={world.seed}; it ended at {world.now_s:.6f} s after "
        f"{world.steps} steps, trace {world.trace.digest}. What happened:\n{text}"
    )


def simulated(
    *,
    seeds: int | Iterable[int] = 1,
    faults: FaultPlan = NO_FAULTS,
    **options: Unpack[SettingsOptions],
) -> Callable[[Callable[Concatenate[Simulation, P], Awaitable[None]]], Callable[P, None]]:
    """Make `async def test_...(sim, ...)` a test that runs once for each seed.

    `seeds` is their number, from 0, or the seeds themselves. Other parameters are fixtures.
    """
    chosen = range(seeds) if isinstance(seeds, int) else tuple(seeds)

    def decorate(
        scenario: Callable[Concatenate[Simulation, P], Awaitable[None]],
    ) -> Callable[P, None]:
        @functools.wraps(scenario)
        def test(*args: P.args, **keywords: P.kwargs) -> None:
            for seed in chosen:
                simulate(
                    lambda sim: scenario(sim, *args, **keywords),
                    seed=seed,
                    faults=faults,
                    **options,
                )

        # The signature for pytest: without the simulation, and no coroutine function.
        del test.__wrapped__
        signature = inspect.signature(scenario)
        rest = list(signature.parameters.values())[1:]
        test.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return test

    return decorate
