"""Fault plans: the faults of a simulated run, and their times, as data.

    FaultPlan((Crash(at_s=10.0, host=1), Cut(at_s=20.0, host=1, other=2, for_s=5.0)))

Times are virtual seconds from the start of the plan. A fault does nothing when its host is
down at that time; the trace notes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import Final, Self, TypeAlias, assert_never, final

from callboard.messages.core.errors import SpecError, UsageError

from .network import NetworkFaults
from .system import SimulatedSystem

__all__ = [
    "NO_FAULTS",
    "Crash",
    "Cut",
    "FailStarts",
    "Fault",
    "FaultPlan",
    "Hang",
    "Slow",
    "Storm",
    "apply",
]

FAULTS_MAX: Final = 10_000
SHORTEST_S: Final = 0.05
"""The shortest duration of a drawn fault."""


@dataclass(frozen=True, slots=True)
class _Timed:
    at_s: float

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.endswith("_s") and not (
                isinstance(value, int | float) and 0 <= value < math.inf
            ):
                raise SpecError(
                    f"{kind}.{each.name} is {value!r}.",
                    advice="Give finite seconds, 0 or more.",
                    field=f"{kind}.{each.name}",
                )


@final
@dataclass(frozen=True, slots=True)
class Crash(_Timed):
    """The process of a host dies without notice."""

    host: int
    """The number of the host."""


@final
@dataclass(frozen=True, slots=True)
class Hang(_Timed):
    """The process of a host does nothing for a while."""

    host: int
    """The number of the host."""
    for_s: float
    """For how long, in seconds."""


@final
@dataclass(frozen=True, slots=True)
class Slow(_Timed):
    """Each step of a host's process takes `step_s` for a while."""

    host: int
    """The number of the host."""
    for_s: float
    """For how long, in seconds."""
    step_s: float = 0.001
    """How long each step takes, in seconds."""


@final
@dataclass(frozen=True, slots=True)
class Cut(_Timed):
    """Nothing passes from one host to another for a while; host 0 is the driver."""

    host: int
    """The number of the host that sends."""
    other: int
    """The number of the host that receives."""
    for_s: float
    """For how long, in seconds."""
    both: bool = True
    """Whether the other direction is cut, too."""


@final
@dataclass(frozen=True, slots=True)
class Storm(_Timed):
    """The network loses, repeats and reorders shares of all frames for a while."""

    for_s: float
    """For how long, in seconds."""
    loss: float = 0.1
    """The share of frames that are lost, from 0 to 1."""
    double: float = 0.1
    """The share of frames that arrive twice."""
    reorder: float = 0.1
    """The share of frames that arrive late, after others."""

    def __post_init__(self) -> None:
        _Timed.__post_init__(self)
        for name in ("loss", "double", "reorder"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SpecError(
                    f"Storm.{name} is {getattr(self, name)!r}.",
                    advice="Give a share between 0 and 1.",
                    field=f"Storm.{name}",
                )


@final
@dataclass(frozen=True, slots=True)
class FailStarts(_Timed):
    """The next `count` process starts fail."""

    count: int = 1
    """How many starts fail."""


Fault: TypeAlias = Crash | Hang | Slow | Cut | Storm | FailStarts
"""One fault of a plan."""


@final
@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults of a run, in any order."""

    faults: tuple[Fault, ...] = ()
    """The faults."""

    def __post_init__(self) -> None:
        if len(self.faults) > FAULTS_MAX:
            raise SpecError(
                f"FaultPlan.faults holds {len(self.faults):,} faults.",
                advice=f"Use {FAULTS_MAX:,} faults at most.",
                field="FaultPlan.faults",
            )

    @classmethod
    def drawn(cls, random: Random, *, count: int, within_s: float, hosts: Sequence[int]) -> Self:
        """Draw `count` faults of all kinds from `random` (the generator of a seed).

        Each begins within `within_s` and lasts a tenth of that at most.
        """

        def draw() -> Fault:
            at_s, host = random.uniform(0.0, within_s), random.choice(list(hosts))
            for_s = random.uniform(SHORTEST_S, max(SHORTEST_S, within_s / 10.0))
            match random.randrange(6):
                case 0:
                    return Crash(at_s, host)
                case 1:
                    return Hang(at_s, host, for_s)
                case 2:
                    return Slow(at_s, host, for_s)
                case 3:
                    other = random.choice([0, *(each for each in hosts if each != host)])
                    return Cut(at_s, host, other, for_s, both=random.random() < 0.5)
                case 4:
                    return Storm(at_s, for_s)
                case _:
                    return FailStarts(at_s)

        return cls(tuple(draw() for _ in range(count)))


NO_FAULTS: Final = FaultPlan()
"""The plan without a fault."""


def apply(plan: FaultPlan, simulated: SimulatedSystem) -> None:
    """Schedule a plan from now on."""
    world = simulated.world
    for fault in plan.faults:
        world.at(world.now_s + fault.at_s, _inject, fault, simulated)


def _inject(fault: Fault, simulated: SimulatedSystem) -> None:
    try:
        _apply(fault, simulated)
    except UsageError as error:
        simulated.world.trace.note(simulated.world.now_s, f"{fault} does nothing: {error.message}")


def _apply(fault: Fault, simulated: SimulatedSystem) -> None:
    world, network = simulated.world, simulated.network
    match fault:
        case Crash(host=host):
            simulated.crash(host)
        case Hang(host=host, for_s=for_s):
            simulated.hang(host, for_s)
        case Slow(host=host, for_s=for_s, step_s=step_s):
            loop = simulated.loop(host)
            simulated.slow(host, step_s)
            world.at(world.now_s + for_s, setattr, loop, "step_cost_s", 0.0)
        case Cut(host=host, other=other, for_s=for_s, both=both):
            ends = simulated.loop(host), simulated.loop(other)
            network.cut(*ends, both=both)
            world.at(world.now_s + for_s, network.heal, *ends)
        case Storm(for_s=for_s, loss=loss, double=double, reorder=reorder):
            before = network.faults
            network.faults = NetworkFaults(
                loss=loss, double=double, reorder=reorder, streams=before.streams
            )
            world.trace.note(world.now_s, f"{fault}")
            world.at(world.now_s + for_s, setattr, network, "faults", before)
        case FailStarts(count=count):
            simulated.engine.failing_starts += count
        case _:
            assert_never(fault)
