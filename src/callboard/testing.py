"""Testing your own actors: virtual time, probes, faults and seeds.

    from callboard.testing import Crash, FaultPlan, Simulation, simulated

    @simulated(hosts=2, seeds=100, faults=FaultPlan((Crash(at_s=5.0, host=1),)))
    async def test_it_comes_back(sim: Simulation) -> None:
        ...

The system under test is the real one on simulated processes: a ten-minute back-off takes
milliseconds, and a failing seed replays exactly. See docs/testing.md.
"""

from callboard.runtime.testing.plan import (
    NO_FAULTS,
    Crash,
    Cut,
    FailStarts,
    Fault,
    FaultPlan,
    Hang,
    Slow,
    Storm,
)
from callboard.runtime.testing.probe import Probe, open_probe
from callboard.runtime.testing.simulate import Simulation, simulate, simulated
from callboard.runtime.testing.system import open_system
from callboard.runtime.testing.world import World

__all__ = [
    "NO_FAULTS",
    "Crash",
    "Cut",
    "FailStarts",
    "Fault",
    "FaultPlan",
    "Hang",
    "Probe",
    "Simulation",
    "Slow",
    "Storm",
    "World",
    "open_probe",
    "open_system",
    "simulate",
    "simulated",
]
