"""Spawnable: an actor class whose constructor needs no arguments, or `Props`.

A file of its own, because contexts need it and `props` needs actors, which need contexts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar, final

__all__ = ["Props", "Spawnable"]

ActorT = TypeVar("ActorT")
ActorT_co = TypeVar("ActorT_co", covariant=True)


@final
@dataclass(frozen=True, slots=True)
class Props(Generic[ActorT_co]):
    """An actor class with its constructor's arguments; made by `props`."""

    actor: type[ActorT_co]
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] | None = field(default=None, hash=False)


Spawnable: TypeAlias = Callable[[], ActorT] | Props[ActorT]
"""An actor class whose constructor needs no arguments, or `Props`."""
