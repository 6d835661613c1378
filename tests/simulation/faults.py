"""Faults drawn from the seed: their kinds, times and durations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from callboard.messages.core.errors import UsageError
from callboard.runtime.testing.network import NetworkFaults
from callboard.runtime.testing.system import SimulatedSystem

__all__ = [
    "FAULTS",
    "LINK_FAULTS",
    "STEPS_LATE_MAX",
    "Fault",
    "draw_faults",
    "draw_network_faults",
    "inject_fault",
    "schedule_faults",
]

FAULTS: Final = ("crash", "crash", "hang", "slow", "cut", "cut_one_way", "storm", "failing_start")
LINK_FAULTS: Final = ("cut", "cut_one_way", "storm", "hang")
STEPS_LATE_MAX: Final = 40
"""The most steps between the time of a fault and the fault: it hits other activities."""
HANG_MAX_S: Final = 1.5
SLOW_STEP_MAX_S: Final = 0.002
CUT_MAX_S: Final = 2.0
STORM: Final = NetworkFaults(
    delay_max_s=0.02, loss=0.1, double=0.1, reorder=0.2, late_s=0.05, streams=0.5
)


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `slot` and `other` are hosts, `seconds` is its duration."""

    kind: str
    at_s: float
    slot: int
    other: int
    seconds: float
    steps_late: int


Injector = Callable[[Any, Fault], None]


def draw_faults(
    draw: Callable[[], float], *, hosts: int, until_s: float, count: int,
    kinds: Sequence[str] = FAULTS,
) -> list[Fault]:  # fmt: skip
    """Draw `count` faults before `until_s`; the driver neither crashes nor hangs."""
    faults = []
    for _ in range(count):
        kind = kinds[int(draw() * len(kinds))]
        slot = 1 + int(draw() * hosts)
        other = int(draw() * hosts)  # Another host, or the driver.
        other = other if other < slot else other + 1
        faults.append(
            Fault(kind, draw() * until_s, slot, other, draw(), int(draw() * STEPS_LATE_MAX))
        )
    return faults


def draw_network_faults(draw: Callable[[], float]) -> NetworkFaults:
    """Draw network faults for the whole run."""
    if draw() < 0.4:
        return NetworkFaults(streams=draw(), full=0.6 * draw())
    return NetworkFaults(
        delay_max_s=0.0005 + 0.01 * draw() ** 2,
        loss=0.05 * draw() ** 2,
        double=0.1 * draw() ** 2,
        reorder=0.2 * draw() ** 2,
        late_s=0.02 * draw(),
        streams=draw(),
        full=0.6 * draw(),
    )


def schedule_faults(
    system: SimulatedSystem, faults: Sequence[Fault], inject: Injector | None = None
) -> None:
    """Inject faults at their times; `inject` handles more kinds than `inject_fault`."""
    inject = inject_fault if inject is None else inject
    world = system.world
    began_s = world.now_s

    def come(fault: Fault, steps_late: int) -> None:
        if steps_late:
            world.outside.call_soon(come, fault, steps_late - 1)
            return
        try:
            inject(system, fault)
        except UsageError:
            return  # The process is down now.

    for fault in faults:
        world.at(began_s + fault.at_s, come, fault, fault.steps_late)


def inject_fault(system: SimulatedSystem, fault: Fault) -> None:
    """Inject a fault now. Raises `UsageError` when there is no such process."""
    world = system.world
    match fault.kind:
        case "crash":
            system.crash(fault.slot)
        case "hang":
            system.hang(fault.slot, HANG_MAX_S * fault.seconds)
        case "slow":
            loop = system.loop(fault.slot)
            system.slow(fault.slot, SLOW_STEP_MAX_S * fault.seconds)
            world.at(world.now_s + fault.seconds, _quick, loop)
        case "cut" | "cut_one_way":
            ends = system.loop(fault.slot), system.loop(fault.other)
            system.network.cut(*ends, both=fault.kind == "cut")
            world.at(world.now_s + CUT_MAX_S * fault.seconds, system.network.heal, *ends)
        case "storm":
            before = system.network.faults
            world.trace.note(world.now_s, "a storm begins")
            system.network.faults = STORM
            world.at(world.now_s + fault.seconds, _end_storm, system, before)
        case _:
            system.engine.failing_starts += 1
            world.trace.note(world.now_s, "the next process start fails")


def _quick(loop: Any) -> None:
    loop.step_cost_s = 0.0


def _end_storm(system: SimulatedSystem, faults: NetworkFaults) -> None:
    if system.network.faults is STORM:
        system.network.faults = faults
