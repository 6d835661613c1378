"""Who offers what, as a driver follows it."""

import asyncio
from collections.abc import AsyncIterator

from callboard.actors.host.host import Host
from callboard.messages.notices import NameChanged, Offers

__all__ = ["offers_of"]


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
