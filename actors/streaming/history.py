"""The history of a channel, as a client asks for it: from the ring, or from the log behind it."""

from typing import Final

from .channel import Channel
from .limits import HubLimits
from .messages import ChannelKind
from .ports import Page
from .protocol import ErrorCode, Failed, HistoryPage, HistoryQuery, Publication, Reply

__all__ = ["cut", "history_of"]

ALL: Final = -1
"""The limit that asks for as much as there is."""


def cut(publications: list[Publication], events_max: int, bytes_max: int) -> list[Publication]:
    """The first publications that fit; at least one, so that a reader gets on."""
    size, count = 0, 0
    for publication in publications[:events_max]:
        size += len(publication.data)
        if count and size > bytes_max:
            break
        count += 1
    return publications[:count]


async def history_of(channel: Channel, query: HistoryQuery, limits: HubLimits) -> Reply:
    """The publications that a client asks for, and the newest position. Raises what a log does.

    A journal channel reads its log forwards, from any position. Everything else comes from the
    ring. A position that is gone is an error (112).
    """
    if query.limit == 0:
        return HistoryPage((), channel.position)
    wanted = limits.replay_events_max
    limit = wanted if query.limit == ALL else min(max(query.limit, 0), wanted)
    since, ring = query.since, channel.ring
    gap = Failed(ErrorCode.UNRECOVERABLE_POSITION, "the position is not known here")
    if since is not None and since.epoch and since.epoch != channel.epoch:
        return gap
    if query.reverse:
        found = list(reversed(ring.publications))
        if since is not None:
            found = [each for each in found if each.offset < since.offset]
    elif since is None:
        found = list(ring.publications)
    elif ring.covers(since.offset):
        found = ring.after(since.offset)
    elif channel.kind is ChannelKind.JOURNAL and channel.source is not None:
        page: Page | None = await channel.source.read(channel.name, since.offset, limit)
        if page is None:
            return gap
        found = list(page.publications)
    else:
        return gap
    return HistoryPage(tuple(cut(found, limit, limits.replay_bytes_max)), channel.position)
