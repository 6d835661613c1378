"""Adds a program's own projections, logs and caches to the metrics of its driver.

async with callboard.start() as system, Projector(...) as projector:
    end = callboard.telemetry.measure(system, projector, cache)
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from callboard.actors.events.consumers.group import ConsumerGroup
from callboard.actors.events.projection.projector import Projector
from callboard.actors.journal.journal import Journal
from callboard.actors.state.states import AgentStateManager

from ..cache.tiers import TieredCache
from .inside import host_of

if TYPE_CHECKING:
    from .system import System

__all__ = ["Measured", "measure"]

Measured = Projector | ConsumerGroup | AgentStateManager | TieredCache | Journal


def measure(system: "System", *parts: Measured) -> Callable[[], None]:
    """Publish the figures of `parts` with the metrics of the system's driver.

    Returns a function that ends this: call it when the parts are closed. Their counters keep the
    last values. Raises `UsageError` when the system does not run.
    """
    instruments = host_of(system).meters.instruments
    ends = [instruments.add(part.reading) for part in parts]

    def end() -> None:
        for each in ends:
            each()

    return end
