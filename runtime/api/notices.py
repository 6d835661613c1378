"""Notices for a driver: offers of a contract, and dead letters."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import ClassVar

from callboard.actors.kernel.actor import Actor, OnError, Overflow, handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.host.host import Host
from callboard.messages.control.dead_letters import DeadLetter
from callboard.messages.control.notices import NameChanged, Offers

__all__ = ["DeadLetterListener", "offers_of"]


async def offers_of(host: Host, contract: str) -> AsyncIterator[Offers]:
    """The offers of a contract, now and after each change; a slow reader gets the newest only."""
    newest: Offers | NameChanged | None = None
    is_new = asyncio.Event()

    def on_notice(notice: Offers | NameChanged | None) -> None:
        nonlocal newest
        newest = notice
        is_new.set()

    unlisten = host.subscriptions.listen((Offers, contract), on_notice)
    try:
        while True:
            await is_new.wait()
            is_new.clear()
            if not isinstance(newest, Offers):
                return
            yield newest
    finally:
        unlisten()


class DeadLetterListener(Actor):
    """The actor that receives the dead letters of all hosts for a driver."""

    overflow: ClassVar[Overflow] = Overflow.DROP_OLDEST
    on_error: ClassVar[OnError] = OnError.RESUME

    def __init__(self, subscriber: Callable[[DeadLetter], None]) -> None:
        self._subscriber = subscriber

    @classmethod
    def recipe(cls, subscriber: Callable[[DeadLetter], None]) -> Recipe:
        """The recipe of a listener that calls `subscriber`."""
        return Recipe(cls, (subscriber,))

    @handler
    async def letter(self, letter: DeadLetter) -> None:
        """Hand one dead letter to the subscriber."""
        self._subscriber(letter)
