"""The faults of a rehearsal, as data."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, final

__all__ = ["FAULTS", "PARTS", "Act", "Fault", "Step", "Target", "chosen"]


class Act(Enum):
    """What is done to a machine or to the network."""

    CUT = auto()
    MEND = auto()
    SLOW = auto()
    FAST = auto()
    KILL = auto()
    KILL_CONTROL_STORE = auto()
    RAY_DOWN = auto()


class Target(Enum):
    """The machine that a fault is done to."""

    WORKER = auto()
    """A worker with hosts and without the root."""
    ROOT = auto()
    """The worker with the root."""
    HEAD = auto()


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One act, so many seconds after the first one."""

    act: Act
    after_s: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and what may be expected of it."""

    name: str
    says: str
    steps: tuple[Step, ...]
    watched_s: float
    """After the last step: all has to go on, and old activations to end, within this time."""
    target: Target = Target.WORKER
    loses_its_node: bool = False
    """Whether the node has to join again afterwards."""
    ends_the_system: bool = False
    """Whether it ends the cluster: then all has to end by itself."""

    @property
    def lasts_s(self) -> float:
        """The time from the first step to the last."""
        return self.steps[-1].after_s


def _cut_for(name: str, time_s: float, watched_s: float) -> Fault:
    steps = (Step(Act.CUT), Step(Act.MEND, time_s))
    return Fault(name, f"a worker cut off for {time_s:g} s", steps, watched_s)


FAULTS: Final = (
    Fault(
        "delay",
        "100 ms of delay each way, for 15 s",
        (Step(Act.SLOW), Step(Act.FAST, 15.0)),
        watched_s=20.0,
    ),
    _cut_for("cut-3s", 3.0, 30.0),
    _cut_for("cut-20s", 20.0, 60.0),
    Fault("node", "all processes of a worker killed", (Step(Act.KILL),), 60.0, loses_its_node=True),
    Fault("cut", "a worker cut off for good", (Step(Act.CUT),), 90.0, loses_its_node=True),
    Fault(
        "root",
        "all processes of the root's worker killed",
        (Step(Act.KILL),),
        90.0,
        target=Target.ROOT,
        loses_its_node=True,
    ),
    Fault(
        "ray-down",
        "ray down while a system runs",
        (Step(Act.RAY_DOWN),),
        60.0,
        target=Target.HEAD,
        ends_the_system=True,
    ),
    Fault(
        "control-store",
        "the control store killed",
        (Step(Act.KILL_CONTROL_STORE),),
        60.0,
        target=Target.HEAD,
        ends_the_system=True,
    ),
)
"""In the order in which they are done."""

JOBS: Final = ("quickstart", "durable", "review")
PARTS: Final = (*JOBS, *(fault.name for fault in FAULTS))


def chosen(only: Sequence[str]) -> Collection[str]:
    """The parts to rehearse: all, or those that are named. Raises `ValueError` for another name."""
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(PARTS)}.")
    return [name for name in PARTS if not only or name in only]
