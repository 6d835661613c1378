"""The channel `approvals`: what persons are asked for, and what they have decided lately."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from callboard.actors.streaming.polled import PolledSource
from callboard.messages.control.approvals import ApprovalState, QueryApprovals

from .system import Ask

__all__ = ["CHANNEL", "approvals_source"]

CHANNEL: Final = "approvals"
OPEN_MAX: Final = 100
RECENT_MAX: Final = 50


def approvals_source(ask: Ask, *, every_s: float = 1.0) -> PolledSource:
    """The source of `approvals`: the newest open ones, and the newest of all, by their ids.

    `ask` reaches the admin API of the system. An approval that is no longer among them is
    published as null; the API has it.
    """

    async def read() -> Mapping[str, Any]:
        pages = await asyncio.gather(
            ask(QueryApprovals(states=(ApprovalState.ASKED,), limit=OPEN_MAX)),
            ask(QueryApprovals(limit=RECENT_MAX)),
        )
        return {each.id: each.model_dump(mode="json") for page in pages for each in page.items}

    return PolledSource(CHANNEL, read, every_s=every_s)
