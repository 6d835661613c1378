"""The request for links to the page of a system."""

from pydantic import Field

from callboard.messages.control.principals import LOCAL, Principal
from callboard.messages.core.contract import Contract, Request

__all__ = ["OpenPage", "PageOpened"]


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
