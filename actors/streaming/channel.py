"""One channel: its history, its subscriptions, and the way of each publication to them. Pure."""

import json
from typing import Final

from callboard.messages.core.errors import UsageError

from .limits import HubLimits
from .messages import ChannelKind, problem_of
from .ports import ChannelSource, Codec
from .protocol import Join, Leave, Position, Publication
from .ring import Ring
from .subscription import Accounts, State, Subscription

__all__ = ["Channel", "name_problem"]


def name_problem(name: str, limits: HubLimits) -> str:
    """What is wrong with the name of a channel; empty if nothing is."""
    return problem_of(name, limits.channel_bytes_max)


class Group:
    """The live subscriptions whose pushes have the same bytes."""

    __slots__ = ("codec", "subscriptions")

    def __init__(self, codec: Codec) -> None:
        self.codec: Final = codec
        self.subscriptions: dict[str, Subscription] = {}


class Channel:
    """The state of one channel. A publication is encoded once for each codec.

    Offsets of journal channels are positions of the log; others count from 1 in their epoch.
    """

    __slots__ = (
        "_groups",
        "_limits",
        "_offered",
        "_past",
        "epoch",
        "kind",
        "members",
        "name",
        "published",
        "ring",
        "source",
    )

    def __init__(
        self,
        name: str,
        kind: ChannelKind,
        epoch: str,
        limits: HubLimits,
        *,
        source: ChannelSource | None = None,
        position: int = 0,
    ) -> None:
        self.name: Final = name
        self.kind: Final = kind
        self.epoch = epoch
        self.source: Final = source
        self.ring: Final = Ring(limits, position)
        self.members: dict[str, Subscription] = {}
        """All subscriptions, by the ids of their clients."""
        self.published = 0
        self._limits: Final = limits
        self._groups: dict[str, Group] = {}
        self._offered = 0
        self._past = Accounts()

    @property
    def position(self) -> Position:
        """The newest position."""
        return Position(self.ring.top, self.epoch)

    def publish(self, publication: Publication, now_s: float) -> None:
        """Take the next publication, and give it to all live subscriptions.

        Raises `UsageError` for one of a journal that is out of order.
        """
        if self.kind is not ChannelKind.JOURNAL:
            publication.offset = self.ring.top + 1
        elif publication.offset <= self.ring.top:
            raise UsageError(
                f"{self.name} has published {publication.offset} after {self.ring.top}.",
                advice="Give each event of a log once, in its order.",
            )
        publication.epoch = self.epoch
        self.published += 1
        is_value = bool(publication.key) or self.kind is ChannelKind.NEWEST
        self.ring.add(publication, is_value=is_value)
        for group in self._groups.values():
            self._offered += len(group.subscriptions)
            self._deliver(publication, group, now_s)

    def _deliver(self, publication: Publication, group: Group, now_s: float) -> None:
        # The hot loop of the hub: for each delivery an append and three sums.
        frame = group.codec.push(publication)
        size = len(frame)
        for subscription in group.subscriptions.values():
            if subscription.is_conditional and not subscription.passes(publication, now_s):
                continue
            out = subscription.out
            room = out.room - size
            if room < 0 or out.held:
                out.deliver_late(subscription, publication, frame, now_s)
            else:
                out.room = room
                out.parts.append(frame)
                if not subscription.waiting:
                    out.touch(subscription, now_s)
                subscription.waiting += 1
            if not out.is_signalled:
                out.signal()

    def join(self, subscription: Subscription) -> None:
        """A subscription begins; it is no part of `publish` yet."""
        self.members[subscription.client.client] = subscription

    def go_live(self, subscription: Subscription) -> None:
        """From the next publication on the subscription gets all."""
        assert subscription.state is State.JOINING, subscription.state
        subscription.state = State.LIVE
        key = _group_of(subscription)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(subscription.codec)
        group.subscriptions[subscription.out.client] = subscription
        self._announce(subscription, has_come=True)

    def leave(self, subscription: Subscription) -> None:
        """A subscription ends. What waits for it counts as lost, unless it was sent before."""
        out = subscription.out
        self.members.pop(out.client, None)
        key = _group_of(subscription)
        group = self._groups.get(key)
        if group is not None and group.subscriptions.pop(out.client, None) is not None:
            if not group.subscriptions:
                del self._groups[key]
            self._announce(subscription, has_come=False)
        subscription.close()
        subscription.state = State.ENDED
        self._past = self._past.plus(subscription.accounts())

    def _announce(self, subscription: Subscription, *, has_come: bool) -> None:
        made = Join if has_come else Leave
        push = made(self.name, subscription.client)
        for group in self._groups.values():
            for other in group.subscriptions.values():
                if other.wants_joins and other is not subscription:
                    other.out.push(push)

    def accounts(self) -> Accounts:
        """What became of all events for all subscriptions, of now and before."""
        total = self._past.plus(Accounts(offered=self._offered))
        for subscription in self.members.values():
            total = total.plus(subscription.accounts())
        return total

    def snapshot(self) -> bytes:
        """What a new subscriber gets: the source's snapshot, or the newest value of each key."""
        if self.source is not None:
            return self.source.snapshot(self.name)
        values = self.ring.values.items()
        if not values:
            return b""
        parts = (b"%s:%s" % (json.dumps(key).encode(), value.data) for key, value in values)
        return b'{"values":{%s}}' % b",".join(parts)


def _group_of(subscription: Subscription) -> str:
    codec = subscription.codec
    return codec.name if codec.is_shared else f"\0{subscription.out.client}"
