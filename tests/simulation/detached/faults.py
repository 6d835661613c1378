"""Faults of a detached system: its root and its drivers also die, alone or with a host."""

from collections.abc import Callable
from typing import Final

from ..faults import STEPS_LATE_MAX, Fault, inject_fault
from .system import FIRST_DRIVER, ROOT, DetachedSystem

__all__ = ["KINDS", "draw_detached_faults", "inject_detached_fault"]

KINDS: Final = (
    "root",
    "root",
    "root",
    "driver",
    "driver",
    "root_and_host",
    "crash",
    "hang",
    "slow",
    "cut",
    "cut_one_way",
    "cut",
    "storm",
    "stall",
    "suspend",
    "failing_start",
)
STALL_S: Final = 6.0
"""The most time that a driver's event loop, or its whole process, hangs; longer than the root
waits for a heartbeat."""


def draw_detached_faults(
    draw: Callable[[], float], *, hosts: int, drivers: int, until_s: float, count: int
) -> list[Fault]:
    """Draw `count` faults of the root, hosts and drivers before `until_s`."""
    processes = [ROOT, *range(1, hosts + 1), *range(FIRST_DRIVER, FIRST_DRIVER + drivers)]
    faults = []
    for _ in range(count):
        kind = KINDS[int(draw() * len(KINDS))]
        slot = 1 + int(draw() * hosts)
        if kind in {"driver", "stall", "suspend"}:
            slot = FIRST_DRIVER + int(draw() * drivers)
        elif kind in {"cut", "cut_one_way"}:
            slot = processes[int(draw() * len(processes))]
        others = [number for number in processes if number != slot]
        other = others[int(draw() * len(others))]
        at_s, steps_late = draw() * until_s, int(draw() * STEPS_LATE_MAX)
        faults.append(Fault(kind, at_s, slot, other, draw(), steps_late))
    return faults


def inject_detached_fault(system: DetachedSystem, fault: Fault) -> None:
    """Inject a fault now. Raises `UsageError` when there is no such process."""
    match fault.kind:
        case "root":
            system.crash(ROOT)
        case "driver":
            system.crash(fault.slot)
        case "root_and_host":
            system.crash(ROOT)
            system.touched.add(fault.slot)
            system.crash(fault.slot)
        case "stall":
            system.hang(fault.slot, STALL_S * fault.seconds)
        case "suspend":
            system.suspend(fault.slot, STALL_S * fault.seconds)
        case kind:
            if kind in {"crash", "hang", "slow"}:
                system.touched.add(fault.slot)
            elif kind in {"cut", "cut_one_way"}:
                system.touched.update((fault.slot, fault.other))
            inject_fault(system, fault)
