"""The environment of a system: randomness, the wall clock, identities.

A system takes these from here only, so that the simulator can replace them.
"""

import os
import platform
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from callboard.messages.core.ref import Address, Ref
from callboard.messages.ports import MetricSink, Pickler
from callboard.supervisors.supervisor import Supervisor

__all__ = ["REAL", "Environment"]


@final
@dataclass(frozen=True, slots=True)
class Environment:
    """The environment of one system."""

    random: Callable[[], float]
    """Numbers in [0, 1), for jitter."""
    wall_time: Callable[[], float]
    """Seconds since 1970, for people; durations come from the event loop's clock."""
    new_id: Callable[[], str]
    """A unique text, for executions."""
    epoch: Callable[[], int]
    """A number that differs between incarnations of the same control host."""
    is_real: bool = True
    """Whether the system has real threads, processes and sockets; False in the simulator."""
    make_pickler: Callable[[Callable[[Address], Ref[Any]]], Pickler] | None = None
    """Makes the pickler of code, given the function that binds references; None for the usual."""
    make_supervisor: Callable[..., Supervisor] = Supervisor
    """Makes the supervisors of actors and hosts; the simulator wraps them."""
    node: Callable[[], str] = platform.node
    """The readable name of the machine, or of its node in a cluster; it may take a moment."""
    make_metrics: Callable[[str, str], MetricSink] | None = None
    """Makes the sink of one host's metrics, given the name of the system and the label of the
    host; None without metrics."""
    metrics_group: Callable[[str, bool], str] | None = None
    """A text that the processes of one system on one node have in common and no other system has,
    given its name and whether it is detached; None for no endpoint with the node's metrics."""


REAL: Final = Environment(
    # The module is read at each call: a program may seed it, or fork.
    random=lambda: random.random(),  # noqa: PLW0108, S311 - as above; jitter is no secret
    wall_time=time.time,
    new_id=lambda: uuid.uuid4().hex,
    epoch=os.getpid,
)
"""The environment of this machine. An engine adds the sink of metrics."""
