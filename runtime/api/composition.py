"""The composition root: which adapters a system gets. Ray is imported only when it is needed."""

from collections.abc import Callable

from callboard.messages.errors import CallboardError
from callboard.messages.ports import Engine

from ..detached.ports import AttachedDriver, DetachedSystems
from ..environment import REAL, Environment
from ..settings import Settings
from .inline import InlineEngine

__all__ = ["detached_systems", "enter", "environment_of", "make_engine"]


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings name."""
    if settings.engine == "inline":
        return InlineEngine(settings)
    from .ray.engine import RayEngine

    return RayEngine(settings)


def environment_of(settings: Settings) -> Environment:
    """The world of the engine that the settings name."""
    if settings.engine == "inline":
        return REAL
    from .ray.environment import RAY

    return RAY


def detached_systems() -> DetachedSystems:
    """The detached systems of whatever cluster one visits; only Ray has them."""
    from ..detached import entry

    return entry


async def enter(
    settings: Settings,
    environment: Environment,
    on_failed: Callable[[CallboardError], None],
    *,
    starts: bool,
) -> AttachedDriver:
    """See `Enter`."""
    from ..detached import entry

    return await entry.enter(settings, environment, on_failed, starts=starts)
