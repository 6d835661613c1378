"""Deliberate defects of the stream hub: the scenario `streams` must find each of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.streaming import resuming
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.joining import Joining
from callboard.actors.streaming.messages import ChannelKind
from callboard.actors.streaming.outgoing import Outgoing
from callboard.actors.streaming.ring import Ring
from callboard.actors.streaming.subscription import Subscription

from .mutation import Mutation

__all__ = ["STREAMS"]

Right = Callable[..., Any]


def _rest_of_the_ring_forgotten(right: Right) -> Right:
    def go_on(*rest: Any) -> Any:
        right(*rest)
        return ()

    return go_on


def _ahead_not_skipped(_right: Right) -> Right:
    def catch_up_to(_self: Subscription, _position: int) -> None:
        pass

    return catch_up_to


def _journal_conflated(right: Right) -> Right:
    def deliver(out: Outgoing, subscription: Subscription, *rest: Any) -> None:
        if subscription.kind is ChannelKind.JOURNAL:
            out._hold(subscription, rest[0], len(rest[1]))
        else:
            right(out, subscription, *rest)

    return deliver


def _loss_not_counted(_right: Right) -> Right:
    def close(subscription: Subscription) -> None:
        subscription.waiting = subscription.held = 0

    return close


def _never_too_slow(_right: Right) -> Right:
    def end(out: Outgoing, closing: Any) -> None:
        if closing.code != 3008:
            _right(out, closing)

    return end


def _ring_begins_early(right: Right) -> Right:
    def evict(ring: Ring) -> None:
        start = ring.start
        right(ring)
        ring.start = start

    return evict


def _values_out_of_order(_right: Right) -> Right:
    def hold(out: Outgoing, subscription: Subscription, publication: Any, size: int) -> None:
        place = (publication.channel, publication.key or publication.offset)
        before = out.held.get(place)
        if before is None:
            _right(out, subscription, publication, size)
        else:
            before.publication = publication
            subscription.conflated += 1

    return hold


def _short_page_is_whole(right: Right) -> Right:
    async def read(hub: Hub, channel: Any, after: int) -> Any:
        page = await right(hub, channel, after)
        return page and page._replace(seen=hub.position_of(channel) or page.seen)

    return read


def _places_forgotten(right: Right) -> Right:
    async def subscribe_by_server(joining: Joining, channels: Any, _positions: Any) -> Any:
        return await right(joining, channels, {})

    return subscribe_by_server


STREAMS: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "rest_of_the_ring_forgotten": Mutation(
            "what came while the history was read is not given",
            resuming, "go_on", _rest_of_the_ring_forgotten, "streams",
        ),
        "ahead_not_skipped": Mutation(
            "a hub that is behind gives a client again what it has",
            Subscription, "catch_up_to", _ahead_not_skipped, "streams",
        ),
        "journal_conflated": Mutation(
            "a slow client's events of the journal are dropped",
            Outgoing, "deliver_late", _journal_conflated, "streams",
        ),
        "loss_not_counted": Mutation(
            "what waited for a connection that ended has no fate",
            Subscription, "close", _loss_not_counted, "streams",
        ),
        "never_too_slow": Mutation(
            "a client that does not read is not cut off",
            Outgoing, "end", _never_too_slow, "streams",
        ),
        "ring_begins_early": Mutation(
            "a ring claims to have what it has forgotten",
            Ring, "evict", _ring_begins_early, "streams",
        ),
        "values_out_of_order": Mutation(
            "a value that is replaced keeps its place in the queue",
            Outgoing, "_hold", _values_out_of_order, "streams",
        ),
        "short_page_is_whole": Mutation(
            "a page of the journal counts for more than was read",
            Hub, "read", _short_page_is_whole, "streams",
        ),
        "places_forgotten": Mutation(
            "a client that the hub subscribes begins at the newest position",
            Joining, "subscribe_by_server", _places_forgotten, "streams",
        ),
    }
)  # fmt: skip
"""The defects by name."""
