"""One client's subscription to one channel: what it gets, and what became of each event. Pure.

| state | what happens | next |
|---|---|---|
| JOINING | its history is read; live publications are read later, from the ring | LIVE |
| LIVE | each publication reaches its connection, or is counted as left out | ENDED |
| JOINING, LIVE | the client unsubscribes, the connection ends, the right is lost | ENDED |

Invariant, at every moment: `offered` is the sum of `sent`, `waiting`, `held`, `filtered`,
`conflated` and of `dropped`.
"""

import enum
from collections import OrderedDict
from collections.abc import Sized
from typing import Final, NamedTuple, Protocol

from .filters import Test
from .messages import ChannelKind
from .ports import Codec
from .protocol import Client, Dropped, Publication, Push
from .rates import Bucket
from .restricted import RestrictedCodec

__all__ = ["CLOSED", "RATE", "SLOW", "Accounts", "Queue", "State", "Subscription"]

SLOW: Final = "slow"
"""The connection had no room."""
RATE: Final = "rate"
"""The client wanted fewer."""
CLOSED: Final = "closed"
"""The connection ended before they left."""
PACED_MAX: Final = 1_000
"""The values that one subscription with a rate limit holds."""


class State(enum.Enum):
    """Where a subscription is."""

    JOINING = enum.auto()
    LIVE = enum.auto()
    ENDED = enum.auto()


class Accounts(NamedTuple):
    """What became of the events that a channel had for its subscriptions."""

    offered: int = 0
    sent: int = 0
    """Given to a connection's writer."""
    waiting: int = 0
    """In a queue, or held back until the queue has room."""
    filtered: int = 0
    conflated: int = 0
    """Replaced by a newer value before they left."""
    dropped_slow: int = 0
    dropped_rate: int = 0
    dropped_closed: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether each event has exactly one fate."""
        return self.offered == sum(self) - self.offered

    def plus(self, other: "Accounts") -> "Accounts":
        """The sum of two accounts."""
        return Accounts(*(one + two for one, two in zip(self, other, strict=True)))


class Queue(Protocol):
    """The queue of a subscription's connection; see `Outgoing`."""

    room: int
    is_signalled: bool
    parts: list[bytes]

    @property
    def client(self) -> str:
        """The id of the client."""

    @property
    def codec(self) -> Codec:
        """The codec of the connection."""

    @property
    def held(self) -> Sized:
        """What is held until the queue has room."""

    def touch(self, subscription: "Subscription", now_s: float) -> None:
        """The first publication of a subscription has come into `parts`."""

    def deliver(self, subscription: "Subscription", publication: Publication, now_s: float) -> None:
        """Queue one publication."""

    def deliver_late(
        self, subscription: "Subscription", publication: Publication, frame: bytes, now_s: float
    ) -> None:
        """Queue one publication although the queue is pressed."""

    def push(self, push: Push) -> None:
        """Queue a push that is no publication."""

    def signal(self) -> None:
        """Have the writer woken."""


class Subscription:
    """The state of one subscription."""

    __slots__ = (
        "after",
        "bucket",
        "channel",
        "client",
        "codec",
        "conflated",
        "dropped",
        "expires_at",
        "filtered",
        "held",
        "is_conditional",
        "is_of_server",
        "is_restricted",
        "kind",
        "left_out",
        "offered",
        "out",
        "paced",
        "sent",
        "state",
        "test",
        "waiting",
        "wants_joins",
    )

    def __init__(
        self,
        channel: str,
        kind: ChannelKind,
        out: Queue,
        client: Client,
        *,
        test: Test | None = None,
        bucket: Bucket | None = None,
        wants_joins: bool = False,
        expires_at: float = 0.0,
        is_of_server: bool = False,
        is_restricted: bool = False,
    ) -> None:
        """`is_of_server` means that the server has subscribed the client.

        `is_restricted` means that a rule of the server decides what it gets.
        """
        self.channel: Final = channel
        self.kind: Final = kind
        self.out: Final = out
        self.codec: Final[Codec] = RestrictedCodec(out.codec) if is_restricted else out.codec
        self.is_of_server: Final = is_of_server
        self.is_restricted: Final = is_restricted
        self.client: Final = client
        self.test: Final = test
        self.bucket: Final = bucket
        self.wants_joins: Final = wants_joins
        self.expires_at = expires_at
        self.state = State.JOINING
        self.after = 0
        """The client has everything up to here."""
        self.is_conditional = test is not None or bucket is not None
        self.offered = self.sent = self.waiting = self.held = self.filtered = self.conflated = 0
        self.paced: OrderedDict[str, Publication] = OrderedDict()
        """Values that wait for the rate, by key."""
        self.dropped: dict[str, int] = {}
        self.left_out: dict[str, Dropped] = {}
        """What the client has not been informed of yet, by reason."""

    def catch_up_to(self, position: int) -> None:
        """The client has all up to a position; live publications up to there are no news."""
        self.after = position
        self.is_conditional = True

    def passes(self, publication: Publication, now_s: float) -> bool:
        """Whether the client gets a publication; counts it if not."""
        if publication.offset <= self.after:
            self.offered -= 1
            return False
        if self.after:
            self.after = 0
            self.is_conditional = self.test is not None or self.bucket is not None
        if self.test is not None and not self.test(publication.tags):
            self.filtered += 1
            return False
        if self.bucket is None:
            return True
        if publication.key or self.kind is ChannelKind.NEWEST:
            self._pace(publication, now_s)
            return False
        if not self.bucket.take(now_s):
            self.drop(publication.offset, RATE)
            return False
        return True

    def _pace(self, publication: Publication, now_s: float) -> None:
        """Hold a value until the rate allows it; a newer one of its key replaces it."""
        if self.paced.pop(publication.key, None) is not None:
            self.conflated += 1
        else:
            self.held += 1
        self.paced[publication.key] = publication
        if len(self.paced) > PACED_MAX:
            _, oldest = self.paced.popitem(last=False)
            self.held -= 1
            self.drop(oldest.offset, RATE)
        self.release(now_s)

    def release(self, now_s: float) -> None:
        """Let values go that the rate allows now, in their order."""
        while self.paced and self.bucket is not None and self.bucket.take(now_s):
            _, publication = self.paced.popitem(last=False)
            self.held -= 1
            self.out.deliver(self, publication, now_s)

    def drop(self, offset: int, reason: str) -> None:
        """The client does not get a publication, and will be informed."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        before = self.left_out.get(reason)
        if before is None:
            self.left_out[reason] = Dropped(self.channel, 1, reason, offset, offset)
        else:
            self.left_out[reason] = Dropped(
                before.channel, before.count + 1, reason, before.first, offset
            )

    def close(self) -> None:
        """The connection has ended: what waits does not leave."""
        lost, self.waiting, self.held = self.waiting + self.held, 0, 0
        self.paced.clear()
        if lost:
            self.dropped[CLOSED] = self.dropped.get(CLOSED, 0) + lost

    def accounts(self) -> Accounts:
        """What became of the events for it. `offered` is what it has beyond its channel's."""
        return Accounts(
            self.offered,
            self.sent,
            self.waiting + self.held,
            self.filtered,
            self.conflated,
            self.dropped.get(SLOW, 0),
            self.dropped.get(RATE, 0),
            self.dropped.get(CLOSED, 0),
        )
