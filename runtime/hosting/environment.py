"""What a system takes from the world besides messages: chance, the wall clock, identities.

All of it comes in here, so that the simulator can give a system a world of its own.
"""

import os
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
    """The world of one system."""

    random: Callable[[], float]
    """Numbers in [0, 1), for jitter."""
    wall_time: Callable[[], float]
    """Seconds since 1970, for people; durations come from the event loop's clock."""
    new_id: Callable[[], str]
    """A text that is never given twice, for executions."""
    epoch: Callable[[], int]
    """A number that a later incarnation of the same control host does not have."""
    is_real: bool = True
    """Whether there are threads to watch event loops from, and a machine to announce on."""
    make_pickler: Callable[[Callable[[Address], Ref[Any]]], Pickler] | None = None
    """What ships code, if something else than pickles does; it is given what binds references."""
    make_supervisor: Callable[..., Supervisor] = Supervisor
    """What makes supervisors, of actors and of hosts: a place to look on from."""
    make_metrics: Callable[[str, str], MetricSink] | None = None
    """Makes the sink of one host's metrics, given the name of the system and the label of the
    host; None where nobody collects metrics."""


REAL: Final = Environment(
    # Looked up at each call: a program may seed the module, or fork.
    random=lambda: random.random(),  # noqa: PLW0108, S311 - as above; jitter is no secret
    wall_time=time.time,
    new_id=lambda: uuid.uuid4().hex,
    epoch=os.getpid,
)
"""This machine's. What starts processes adds where their metrics go."""
