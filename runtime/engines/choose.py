"""Which engine a system runs on. Ray is imported only when it is asked for."""

from callboard.messages.ports import Engine

from ..settings import Settings
from .inline import InlineEngine

__all__ = ["make_engine"]


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings name."""
    if settings.engine == "inline":
        return InlineEngine(settings)
    from .ray.engine import RayEngine

    return RayEngine(settings)
