"""A letterbox: the actor through which a driver sees the dead letters of all hosts."""

from collections.abc import Callable
from typing import ClassVar

from callboard.actors.actor import Actor, OnError, Overflow, handler
from callboard.actors.cell import Recipe
from callboard.messages.letters import DeadLetter

__all__ = ["Letterbox"]


class Letterbox(Actor):
    """Hands dead letters to a function of the driver's."""

    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST
    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(self, subscriber: Callable[[DeadLetter], None]) -> None:
        self._subscriber = subscriber

    @classmethod
    def recipe(cls, subscriber: Callable[[DeadLetter], None]) -> Recipe:
        """How to make one."""
        return Recipe(cls, (subscriber,))

    @handler
    async def letter(self, letter: DeadLetter) -> None:
        """One dead letter."""
        self._subscriber(letter)
