"""What actors learn by notices, for a driver: ends of actors, offers, and dead letters."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import ClassVar

from callboard.actors.actor import Actor, OnError, Overflow, handler
from callboard.actors.cell import Recipe
from callboard.actors.host.host import Host
from callboard.messages.letters import DeadLetter
from callboard.messages.notices import Down, NameChanged, Offers
from callboard.messages.ref import Address

__all__ = ["Letterbox", "offers_of", "watch"]


def watch(host: Host, address: Address) -> "asyncio.Future[Down]":
    """The death notice of an actor or a host, once; cancel it to end the watch."""
    future: asyncio.Future[Down] = host.loop.create_future()

    def told(down: Down) -> None:
        if not future.done():
            future.set_result(down)

    unwatch = host.watching.watch_for(told, address)

    def settled(_: "asyncio.Future[Down]") -> None:
        if future.cancelled():
            unwatch()

    future.add_done_callback(settled)
    return future


async def offers_of(host: Host, contract: str) -> AsyncIterator[Offers]:
    """Who offers a contract, now and after each change; the newest only, until the end."""
    newest: Offers | NameChanged | None = None
    is_new = asyncio.Event()

    def told(notice: Offers | NameChanged | None) -> None:
        nonlocal newest
        newest = notice
        is_new.set()

    unlisten = host.subscriptions.listen((Offers, contract), told)
    try:
        while True:
            await is_new.wait()
            is_new.clear()
            if not isinstance(newest, Offers):
                return
            yield newest
    finally:
        unlisten()


class Letterbox(Actor):
    """The actor through which a driver sees the dead letters of all hosts."""

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
