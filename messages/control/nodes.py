"""Nodes: the machines of a cluster, as an engine reports them."""

import math
from dataclasses import dataclass
from typing import Final, final

__all__ = ["NO_DEADLINE", "Node"]

NO_DEADLINE: Final = math.inf


@final
@dataclass(frozen=True, slots=True)
class Node:
    """One node, at the moment of the report."""

    id: str
    name: str = ""
    """For people: its address."""
    cpus: float = 1.0
    """The processors that it offers."""
    is_alive: bool = True
    """Whether the cluster takes it for alive; a lost node may count as alive for a minute."""
    drains_in_s: float | None = None
    """The seconds until it goes; `NO_DEADLINE` when no time was named, None when it stays."""

    @property
    def is_draining(self) -> bool:
        """Whether it is about to leave the cluster."""
        return self.drains_in_s is not None

    @property
    def room(self) -> int:
        """The number of hosts that its processors are for."""
        return max(1, int(self.cpus)) if self.cpus > 0 else 0
