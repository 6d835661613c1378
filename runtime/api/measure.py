"""Lets the metrics of a system's driver tell of what its program keeps beside the system.

async with callboard.start() as system, Projector(...) as projector:
    end = callboard.telemetry.measure(system, projector, cache)
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from callboard.actors.events.consumers import metrics as consumers
from callboard.actors.events.consumers.group import ConsumerGroup
from callboard.actors.events.projection import metrics as projections
from callboard.actors.events.projection.projector import Projector
from callboard.actors.journal import metrics as journals
from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.inspection.metric_sources import Source
from callboard.actors.state import metrics as states
from callboard.actors.state.states import AgentStateManager

from ..cache import metrics as caches
from ..cache.tiers import TieredCache
from .inside import host_of

if TYPE_CHECKING:
    from .system import System

__all__ = ["Measured", "measure"]

Measured = Projector | ConsumerGroup | AgentStateManager | TieredCache | Journal


def measure(system: "System", *parts: Measured) -> Callable[[], None]:
    """Tell the figures of these among the metrics of the system's driver.

    Gives what ends that; call it when they are closed. What they had counted stays counted.
    Raises `UsageError` when the system does not run.
    """
    instruments = host_of(system).meters.instruments
    ends = [instruments.add(_source_of(part)) for part in parts]

    def end() -> None:
        for each in ends:
            each()

    return end


def _source_of(part: Measured) -> Source:
    match part:
        case Projector():
            return lambda: projections.reading_of(part)
        case ConsumerGroup():
            return lambda: consumers.reading_of(part)
        case AgentStateManager():
            return lambda: states.reading_of(part)
        case TieredCache():
            return lambda: caches.reading_of(part)
        case Journal():
            return lambda: journals.reading_of(part)
        case unknown:
            assert_never(unknown)
