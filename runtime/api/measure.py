"""Adds a program's own projections, logs and caches to the metrics of its driver.

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
    """Publish the figures of `parts` with the metrics of the system's driver.

    Returns a function that ends this: call it when the parts are closed. Their counters keep the
    last values. Raises `UsageError` when the system does not run.
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
