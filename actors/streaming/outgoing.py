"""What waits for one connection: replies and pushes, joined into frames when it has room. Pure.

The queue is a list of bytes, as each codec has encoded them once for all connections. A connection
that does not read fills it, and what then happens depends on the promise of the channel:

| kind | over `queue_bytes_soft` | over `queue_bytes_max`, or older than `queue_age_max_s` |
|---|---|---|
| journal | waits | the connection ends with 3008, and the client resumes |
| newest | is held, and a newer value of the same key replaces it | as before |
| tail | is held; the oldest that is held is dropped when there is no room | as before |

What is held leaves when the queue is empty. Held publications leave in the order of their offsets,
because a client resumes from the last offset that it was given.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from .limits import HubLimits
from .messages import ChannelKind
from .ports import Closing, Codec
from .protocol import Disconnect, Publication, Push
from .subscription import SLOW, Subscription

__all__ = ["TOO_SLOW", "Effects", "Outgoing"]

SKIPPED: Final = "skipped"
"""The tag of a value with the count of those that it has replaced."""
TOO_SLOW: Final = Closing(Disconnect.SLOW, "the client reads too slowly; resume")


class Effects:
    """What the shell has to do: wake writers, and end connections."""

    __slots__ = ("ended", "ready")

    def __init__(self) -> None:
        self.ready: list[Outgoing] = []
        self.ended: list[Outgoing] = []


class Held:
    """A publication that waits for room, and how many it has replaced."""

    __slots__ = ("publication", "size_bytes", "skipped", "subscription")

    def __init__(self, subscription: Subscription, publication: Publication, size: int) -> None:
        self.subscription = subscription
        self.publication = publication
        self.size_bytes = size
        self.skipped = 0


class Outgoing:
    """The queue of one connection."""

    __slots__ = (
        "_effects",
        "_held_bytes",
        "_limits",
        "_sending",
        "_sending_at",
        "_sending_since_s",
        "client",
        "closing",
        "codec",
        "held",
        "is_signalled",
        "journal_since_s",
        "parts",
        "room",
        "touched",
    )

    def __init__(self, client: str, codec: Codec, limits: HubLimits, effects: Effects) -> None:
        self.client: Final = client
        self.codec: Final = codec
        self._limits: Final = limits
        self._effects: Final = effects
        self.parts: list[bytes] = []
        self.room = limits.queue_bytes_soft
        """The bytes until the queue is pressed; negative beyond that."""
        self.touched: list[Subscription] = []
        """The subscriptions with publications in `parts`."""
        self.journal_since_s: float | None = None
        """Since when `parts` has a publication of a journal channel."""
        self._sending: list[bytes] = []
        self._sending_at = 0
        self._sending_since_s: float | None = None
        self.held: OrderedDict[tuple[str, str | int], Held] = OrderedDict()
        self._held_bytes = 0
        self.closing: Closing | None = None
        self.is_signalled = False
        """Whether the writer knows that something waits."""

    @property
    def size_bytes(self) -> int:
        """The bytes that wait, without those that are held."""
        return self._limits.queue_bytes_soft - self.room

    def put(self, part: bytes) -> None:
        """Queue a reply or a push that is no publication."""
        if part and self.closing is None:
            self.parts.append(part)
            self.room -= len(part)
            if self.size_bytes > self._limits.queue_bytes_max:
                self.end(TOO_SLOW)
            self.signal()

    def push(self, push: Push) -> None:
        """Queue a push that is no publication."""
        self.put(self.codec.push(push))

    def deliver(self, subscription: Subscription, publication: Publication, now_s: float) -> None:
        """Queue one publication of a subscription; `Channel.publish` does the same for many."""
        frame = subscription.codec.push(publication)
        if self.room < len(frame) or self.held:
            self.deliver_late(subscription, publication, frame, now_s)
        else:
            self._append(subscription, frame, now_s)
        self.signal()

    def _append(self, subscription: Subscription, frame: bytes, now_s: float) -> None:
        self.room -= len(frame)
        self.parts.append(frame)
        if not subscription.waiting:
            self.touch(subscription, now_s)
        subscription.waiting += 1

    def touch(self, subscription: Subscription, now_s: float) -> None:
        """The first publication of a subscription has come into `parts`."""
        self.touched.append(subscription)
        if subscription.kind is ChannelKind.JOURNAL and self.journal_since_s is None:
            self.journal_since_s = now_s

    def deliver_late(
        self, subscription: Subscription, publication: Publication, frame: bytes, now_s: float
    ) -> None:
        """The queue is pressed: do what the kind of the channel says."""
        if subscription.kind is ChannelKind.JOURNAL:
            self._append(subscription, frame, now_s)
            if self.size_bytes > self._limits.queue_bytes_max:
                self.end(TOO_SLOW)
        else:
            self._hold(subscription, publication, len(frame))

    def _hold(self, subscription: Subscription, publication: Publication, size: int) -> None:
        is_value = publication.key or subscription.kind is ChannelKind.NEWEST
        place = (publication.channel, publication.key if is_value else publication.offset)
        entry = Held(subscription, publication, size)
        before = self.held.pop(place, None)
        if before is not None:
            self._held_bytes -= before.size_bytes
            before.subscription.held -= 1
            before.subscription.conflated += 1
            entry.skipped = before.skipped + 1
        self.held[place] = entry
        self._held_bytes += size
        subscription.held += 1
        while self._held_bytes > self._limits.held_bytes_max:
            _, oldest = self.held.popitem(last=False)
            self._held_bytes -= oldest.size_bytes
            oldest.subscription.held -= 1
            oldest.subscription.drop(oldest.publication.offset, SLOW)

    def signal(self) -> None:
        """Have the writer woken."""
        if not self.is_signalled:
            self.is_signalled = True
            self._effects.ready.append(self)

    def take(self, bytes_max: int) -> bytes:
        """The next frame, up to a size; empty when nothing waits."""
        sending = self._sending
        if not sending:
            self._refill()
            sending = self._sending
            if not sending:
                self.is_signalled = False
                return b""
            if self.size_bytes <= bytes_max:
                self._sending = []
                self._sending_since_s = None
                self.room = self._limits.queue_bytes_soft
                return self.codec.join(sending)
        at = end = self._sending_at
        size = 0
        while end < len(sending) and (end == at or size + len(sending[end]) <= bytes_max):
            size += len(sending[end])
            end += 1
        self.room += size
        frame = self.codec.join(sending[at:end])
        self._sending_at = end
        if end == len(sending):
            self._sending = []
            self._sending_at = 0
            self._sending_since_s = None
        return frame

    def _refill(self) -> None:
        self._sending, self.parts = self.parts, []
        self._sending_since_s, self.journal_since_s = self.journal_since_s, None
        for subscription in self.touched:
            subscription.sent += subscription.waiting
            subscription.waiting = 0
        self.touched.clear()
        if not self._sending and self.held:
            self._release()

    def _release(self) -> None:
        for subscription in {entry.subscription: None for entry in self.held.values()}:
            self.inform(subscription)
        # The notices of what was dropped go before what was held after it.
        self._sending.extend(self.parts)
        self.parts.clear()
        size = 0
        while self.held and size < self._limits.queue_bytes_soft:
            _, entry = self.held.popitem(last=False)
            self._held_bytes -= entry.size_bytes
            publication = entry.publication
            if entry.skipped:
                tags = {**publication.tags, SKIPPED: str(entry.skipped)}
                publication = replace(publication, tags=tags)
            part = entry.subscription.codec.push(publication)
            entry.subscription.held -= 1
            entry.subscription.sent += 1
            size += len(part)
            self.room -= len(part)
            self._sending.append(part)

    def inform(self, subscription: Subscription) -> None:
        """Queue the counts of what a subscription does not get."""
        notices: Sequence[Push] = tuple(subscription.left_out.values())
        subscription.left_out = {}
        for notice in notices:
            self.put(subscription.codec.push(notice))

    def forget(self, subscription: Subscription) -> None:
        """A subscription ends, and the connection stays: what is held does not leave."""
        for place in [
            place for place, entry in self.held.items() if entry.subscription is subscription
        ]:
            self._held_bytes -= self.held.pop(place).size_bytes
        if subscription.waiting:
            self.touched.remove(subscription)
            subscription.sent += subscription.waiting
            subscription.waiting = 0

    def end(self, closing: Closing) -> None:
        """End the connection; the first reason counts."""
        if self.closing is None:
            self.closing = closing
            self._effects.ended.append(self)
            self.signal()

    def is_too_old(self, now_s: float) -> bool:
        """Whether an event of a journal channel waits for too long."""
        return self.age_s(now_s) > self._limits.queue_age_max_s

    def age_s(self, now_s: float) -> float:
        """How long the oldest event of a journal channel waits."""
        since_s = self._sending_since_s
        if since_s is None:
            since_s = self.journal_since_s
        return 0.0 if since_s is None else now_s - since_s

    def drop_all(self) -> None:
        """The connection has ended: forget what waits."""
        self.parts.clear()
        self._sending = []
        self.held.clear()
        self.touched.clear()
