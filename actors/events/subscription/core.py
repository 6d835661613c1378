"""Where a subscription stands, and the tail of the log that live ones share. Pure.

A subscription has *seen* every position up to `seen`: each event up to there that its filter
takes has been handed over, and none behind it. All it ever asks is "what comes behind `seen`",
of the shared tail when that reaches so far back, of the store otherwise; so going live, and
falling back when it was too slow, are the same step as any other, and can lose nothing:

    CATCHING_UP --the tail covers `seen`--> LIVE --the tail has moved on--> CATCHING_UP
         |                                   |
         +--the store fails--> WAITING_FOR_STORE --it answers--> as before

Positions have no gap, so what should not happen is seen: a page that repeats a position, goes
back, or (read without a filter) leaves one out is `StoreDamaged`, not a silent loss.
"""

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import StoreDamaged
from callboard.messages.storage.events import RecordedEvent

__all__ = ["RETRY", "Filter", "Mode", "Page", "SubscriptionCore", "Tail"]

RETRY: Final = Backoff(min_s=0.1, max_s=5.0)
"""How long whoever reads a log waits for what has failed."""


class Mode(enum.Enum):
    """Where the next page comes from."""

    CATCHING_UP = "catching up"
    """The store."""
    LIVE = "live"
    """The tail that live subscriptions share in memory."""
    WAITING_FOR_STORE = "waiting for the store"
    """It has failed; it is asked again after a while."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events: all, those of one stream, or those of some kinds."""

    stream: str | None = None
    kinds: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.stream is not None and self.kinds is not None:
            raise SpecError(
                "a subscription names a stream and kinds.",
                advice="Choose one of them; of a stream's events take the kinds you want.",
            )
        if self.kinds == ():
            raise SpecError("a subscription to no kinds.", advice="Leave `kinds` out for all.")

    @property
    def takes_all(self) -> bool:
        """Whether every event of the log is taken."""
        return self.stream is None and self.kinds is None

    def test(self) -> Callable[[RecordedEvent], bool] | None:
        """What tells whether an event is taken; None when all are."""
        if self.stream is not None:
            stream = self.stream
            return lambda event: event.stream == stream
        if self.kinds is not None:
            kinds = frozenset(self.kinds)
            return lambda event: event.kind in kinds
        return None


class Page(NamedTuple):
    """Events behind a position, and how far the log has been looked through for them."""

    events: list[RecordedEvent]
    seen: int


class SubscriptionCore:
    """One subscription: what it has seen, and where the next page comes from."""

    def __init__(self, taken: Filter, after: int) -> None:
        self.filter: Final = taken
        self.seen = after if taken.stream is None else 0
        """No event up to this position is still to come."""
        self.version = 0 if taken.stream is None else after
        """Of a stream's subscription: the version of the last event handed over."""
        self.mode = Mode.CATCHING_UP
        self.delivered = 0
        self.fallbacks = 0
        """How often it was too slow for the tail, and went back to the store."""
        self.failures = 0
        """How often the store failed it, ever; `failed_in_a_row` since it last answered."""
        self.failed_in_a_row = 0

    def follow(self, *, is_in_tail: bool) -> None:
        """Whether the tail reaches back to `seen` has been found out."""
        if is_in_tail:
            self.mode = Mode.LIVE
        else:
            self.fallbacks += self.mode is Mode.LIVE
            self.mode = Mode.CATCHING_UP

    def read(self, events: Sequence[RecordedEvent], head: int) -> list[RecordedEvent]:
        """A page has come from the store; `head` was known before it was asked for.

        Gives what is to be handed over. Only an empty page says that up to `head` there is
        nothing else: a log that is an actor gives shorter ones than it is asked for.
        """
        self.failed_in_a_row = 0
        self._check(events)
        last = events[-1].position if events else self.seen
        if not events and self.filter.takes_all and self.seen < head:
            raise _gap(f"nothing, with its head at {head},", self.seen)
        self.seen = max(self.seen, last if events else head)
        return self._hand_over(events)

    def took(self, page: Page) -> list[RecordedEvent]:
        """A page has come from the tail. Gives what is to be handed over."""
        events = page.events
        if self.filter.stream is not None:
            # The tail begins at a position; what this one knows is said by a version.
            events = [event for event in events if event.version > self.version]
        self._check(events)
        self.seen = max(self.seen, page.seen)
        return self._hand_over(events)

    def failed(self) -> float:
        """The store has failed. Gives the seconds after which it is asked again."""
        self.failures += 1
        self.failed_in_a_row += 1
        self.mode = Mode.WAITING_FOR_STORE
        return RETRY.delay_s(self.failed_in_a_row)

    def _hand_over(self, events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
        if events and self.filter.stream is not None:
            self.version = events[-1].version
        self.delivered += len(events)
        return list(events)

    def _check(self, events: Sequence[RecordedEvent]) -> None:
        if self.filter.stream is not None:
            before = self.version
            for event in events:
                if event.version != before + 1:
                    raise _gap(f"version {event.version} of {event.stream!r}", before)
                before = event.version
        elif self.filter.kinds is not None:
            before = self.seen
            for event in events:
                if event.position <= before:
                    raise _gap(f"position {event.position}", before)
                before = event.position
        elif events:
            # Without a filter the ends prove the middle, but for a page out of order.
            first, last = events[0].position, events[-1].position
            if first != self.seen + 1 or last != self.seen + len(events):
                raise _gap(f"positions {first} to {last} in {len(events)} events", self.seen)


def _gap(found: str, before: int) -> StoreDamaged:
    return StoreDamaged(
        f"the log gives {found} behind {before}: one is missing, or came twice.",
        advice="Check the store; nothing was handed over.",
    )


class Tail:
    """The last events of a log, one after another, shared by all that are live.

    Holds at most `events_max`; what is older is only in the store.
    """

    def __init__(self, events_max: int) -> None:
        self._events: deque[RecordedEvent] = deque(maxlen=events_max)
        self.end = 0
        """The position of the last event that it has had."""

    @property
    def start(self) -> int:
        """It holds every event behind this position, up to `end`."""
        return self.end - len(self._events)

    def covers(self, seen: int) -> bool:
        """Whether what comes behind `seen` is here, or is the next to be added."""
        return self.start <= seen <= self.end

    def begin(self, seen: int) -> None:
        """Forget everything: the next event that is added is the one behind `seen`."""
        self._events.clear()
        self.end = seen

    def add(self, events: Sequence[RecordedEvent]) -> None:
        """The next events of the log; raises `StoreDamaged` when they do not follow."""
        if not events:
            raise _gap("nothing with its head further on", self.end)
        first, last = events[0].position, events[-1].position
        if first != self.end + 1 or last != self.end + len(events):
            raise _gap(f"positions {first} to {last} in {len(events)} events", self.end)
        self._events.extend(events)
        self.end = last

    def page(self, seen: int, limit: int, test: Callable[[RecordedEvent], bool] | None) -> Page:
        """What comes behind `seen`, which it must cover: at most `limit` that pass the test."""
        assert self.covers(seen), (self.start, seen, self.end)
        behind = islice(self._events, seen - self.start, None)
        found: list[RecordedEvent] = []
        for event in behind:
            if test is None or test(event):
                found.append(event)
                if len(found) >= limit:
                    return Page(found, event.position)
        return Page(found, self.end)
