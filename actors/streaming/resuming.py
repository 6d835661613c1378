"""How a subscription begins, and how it resumes: from the ring, from the log, or not. Pure.

A client resumes after the last position that it was given. The answer is whole or it is no: never
a part. The ring is enough when it reaches back that far. The log is read for older positions of a
journal channel, page by page, until the ring covers the rest; that last step and going live are
one, so nothing is lost and nothing comes twice between them. A position ahead of this hub, from a
hub that has read further, is waited for: publications up to it are no news to the client.

Position 0 has seen nothing, so it is resumed in each epoch of a journal.
"""

from collections.abc import Sequence
from typing import Final

from callboard.messages.core.errors import UsageError

from .channel import Channel
from .core import Connection, HubCore, ttl_s
from .messages import ChannelKind
from .protocol import Client, ErrorCode, Failed, Position, Publication, Subscribe, Subscribed
from .rates import Bucket
from .restricted import test_of
from .subscription import State, Subscription

__all__ = ["begin", "fresh", "go_on", "lacks", "push_replay", "refusal", "replay", "resumed"]

GAP: Final = Failed(ErrorCode.UNRECOVERABLE_POSITION, "the position cannot be resumed from")


def refusal(connection: Connection, command: Subscribe, core: HubCore) -> Failed | None:
    """Why a client may not subscribe; None if it may."""
    principal = connection.principal
    if command.is_other_type:
        return Failed(ErrorCode.NOT_AVAILABLE, "the hub has no subscriptions of this type")
    if principal is None or not principal.may_subscribe(command.channel):
        return Failed(ErrorCode.PERMISSION_DENIED, "the token does not cover the channel")
    if command.channel in connection.subscriptions:
        return Failed(ErrorCode.ALREADY_SUBSCRIBED, "the client is subscribed already")
    if len(connection.subscriptions) >= core.limits.channels_max:
        return Failed(ErrorCode.LIMIT_EXCEEDED, f"at most {core.limits.channels_max} channels")
    return None


def begin(
    core: HubCore,
    connection: Connection,
    command: Subscribe,
    channel: Channel,
    now_s: float,
    *,
    expires_at: float = 0.0,
    is_of_server: bool = False,
) -> Subscription | Failed:
    """A subscription that is not live yet, or why there is none."""
    assert connection.principal is not None
    rules = connection.principal.conditions(channel.name)
    try:
        test = test_of(rules, command.filter)
    except UsageError as error:
        return Failed(ErrorCode.BAD_REQUEST, error.message)
    rate = command.rate_limit
    bucket = None if rate is None else Bucket(rate.per_second, rate.burst, now_s)
    subscription = Subscription(
        channel.name,
        channel.kind,
        connection.out,
        Client(connection.principal.subject, connection.client),
        test=test,
        bucket=bucket,
        wants_joins=command.join_leave and not rules,
        expires_at=expires_at,
        is_of_server=is_of_server,
        is_restricted=bool(rules),
    )
    core.join(connection, subscription)
    return subscription


def fresh(
    channel: Channel, subscription: Subscription, wall_s: float, *, is_gap: bool = False
) -> Subscribed:
    """The reply to a subscription that begins at the newest position; it is live from here on."""
    channel.go_live(subscription)
    is_whole = not subscription.is_restricted
    return Subscribed(
        recoverable=is_whole,
        positioned=is_whole,
        position=channel.position if is_whole else None,
        was_recovering=is_gap,
        expires_ttl_s=ttl_s(subscription.expires_at, wall_s),
        data=channel.snapshot() if is_whole else b"",
    )


def lacks(channel: Channel, command: Subscribe, position: int | None) -> bool | None:
    """Whether the position to resume from cannot be: True for never, None if the log must say.

    `position` is how far the source of a journal channel has read its log.
    """
    wanted = command.recover
    assert wanted is not None
    is_journal = channel.kind is ChannelKind.JOURNAL
    if wanted.epoch != channel.epoch and not (is_journal and wanted.offset == 0):
        return True
    if covers(channel, wanted.offset, position):
        return False
    return None if is_journal else True


def covers(channel: Channel, offset: int, position: int | None) -> bool:
    """Whether the ring has everything after an offset, as far as the hub knows the channel."""
    ring = channel.ring
    return ring.start <= offset <= max(ring.top, position or 0)


def replay(
    subscription: Subscription, publications: Sequence[Publication]
) -> tuple[Publication, ...]:
    """Those of old publications that the client gets in the reply; all are accounted for."""
    found = tuple(_passing(subscription, publications))
    subscription.sent += len(found)
    return found


def _passing(
    subscription: Subscription, publications: Sequence[Publication]
) -> Sequence[Publication]:
    subscription.offered += len(publications)
    test = subscription.test
    if test is None:
        return publications
    found = [each for each in publications if test(each.tags)]
    subscription.filtered += len(publications) - len(found)
    return found


def resumed(
    channel: Channel,
    subscription: Subscription,
    command: Subscribe,
    publications: tuple[Publication, ...],
    wall_s: float,
) -> Subscribed:
    """The reply to a client that has resumed: its own offset, and what followed."""
    assert command.recover is not None
    return Subscribed(
        recoverable=True,
        positioned=True,
        position=Position(command.recover.offset, channel.epoch),
        was_recovering=True,
        recovered=True,
        publications=publications,
        expires_ttl_s=ttl_s(subscription.expires_at, wall_s),
    )


def push_replay(
    subscription: Subscription, publications: Sequence[Publication], now_s: float
) -> None:
    """Queue old publications as pushes, after the reply."""
    for publication in _passing(subscription, publications):
        subscription.out.deliver(subscription, publication, now_s)


def go_on(channel: Channel, subscription: Subscription, seen: int) -> Sequence[Publication]:
    """The step to live: the rest of the ring, which the client gets before anything else."""
    assert subscription.state is State.JOINING, subscription.state
    if seen > channel.ring.top:
        subscription.catch_up_to(seen)
    channel.go_live(subscription)
    return channel.ring.after(seen)
