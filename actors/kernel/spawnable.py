"""Spawnable: an actor class whose constructor needs no arguments, or `Props`.

A file of its own, because contexts need it and `props` needs actors, which need contexts.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, final

__all__ = ["Props", "Spawnable"]

ActorT = TypeVar("ActorT")
ActorT_co = TypeVar("ActorT_co", covariant=True)


@final
class Props(NamedTuple, Generic[ActorT_co]):
    """An actor class with its constructor's arguments; made by `props`.

    A tuple, because a million of them may be made at once: a frozen dataclass takes twice as long.
    """

    actor: type[ActorT_co]
    """The class."""
    args: tuple[Any, ...] = ()
    """Its positional arguments."""
    keywords: dict[str, Any] | None = None
    """Its keyword arguments; None for none."""


Spawnable: TypeAlias = Callable[[], ActorT] | Props[ActorT]
"""An actor class whose constructor needs no arguments, or `Props`."""
