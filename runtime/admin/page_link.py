"""The request for links to the page of a system, and the names of the hubs that answer it."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import Field

from callboard.messages.control.principals import LOCAL, Principal
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import ActorNotFound
from callboard.messages.core.ref import Ref

__all__ = ["HUBS_MAX", "OpenPage", "PageOpened", "find_hubs", "hub_name", "open_page"]

HUBS_MAX: Final = 64
"""The most hubs of one system."""


class PageOpened(Contract, name="callboard.admin.page_opened"):
    """Links to the page, one for each hub."""

    links: tuple[str, ...]
    """Each has a code that counts once, for a minute."""
    urls: tuple[str, ...]
    """The same addresses without a code."""


class OpenPage(Request[PageOpened], name="callboard.admin.open_page"):
    """Ask for links to the page. The system starts a hub for it, if it has none."""

    asker: Principal = Field(default=LOCAL)
    """Whose page it is; the admin API says who asks."""


def hub_name(number: int) -> str:
    """The name of a hub, by its number from 1."""
    return f"callboard.hub-{number}"


async def find_hubs(lookup: Callable[[str], Awaitable[Ref[Any]]]) -> list[Ref[Any]]:
    """The hubs of a system, in their order. Raises `ActorNotFound` when there is none."""
    hubs: list[Ref[Any]] = []
    while len(hubs) < HUBS_MAX:
        try:
            hubs.append(await lookup(hub_name(len(hubs) + 1)))
        except ActorNotFound:
            break
    if not hubs:
        raise ActorNotFound(
            "this system has no hub.",
            advice="Start one: `await system.ui.start()`, or `callboard ui NAME`.",
            may_have_run=False,
        )
    return hubs


async def open_page(
    lookup: Callable[[str], Awaitable[Ref[Any]]], request: OpenPage, timeout_s: float
) -> PageOpened:
    """Ask all hubs of a system. Raises `ActorNotFound`, and an `AskError` without an answer."""
    found = [await hub.ask(request, timeout_s=timeout_s) for hub in await find_hubs(lookup)]
    return PageOpened(
        links=tuple(link for each in found for link in each.links),
        urls=tuple(url for each in found for url in each.urls),
    )
