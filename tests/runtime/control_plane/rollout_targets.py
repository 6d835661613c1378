"""Targets for tests on Ray, in a module that travels by value."""

import callboard as cb
from callboard.actors.configuration.rollout.target import Configured

__all__ = ["Pages", "PagesRead", "Read", "Reader"]


class Pages(cb.Contract, name="configuration.ray.pages"):
    """The settings of a reader."""

    pages: int


class PagesRead(cb.Contract, name="configuration.ray.pages_read"):
    """What a reader has seen at the beginning and the end of its message."""

    pages: int
    pages_after: int


class Read(cb.Request[PagesRead], name="configuration.ray.read"):
    """Read."""


class Reader(Configured):
    """An agent with settings."""

    component = "reader"
    settings = Pages

    @cb.handler
    async def read(self, request: Read, ctx: cb.Context) -> PagesRead:
        """The settings of this message."""
        before = 0 if ctx.config is None else ctx.config.settings.pages
        after = 0 if ctx.config is None else ctx.config.settings.pages
        return PagesRead(pages=before, pages_after=after)
