"""The progress of a subscription, and the tail of the log that live ones share. Pure.

A subscription has *seen* every position up to `seen`: it has delivered each event up to there
that its filter takes, and none after it. Each step asks for the events after `seen`: from the
shared tail when the tail reaches back that far, and from the store otherwise. So going live, and
falling back when it was too slow, are ordinary steps that lose nothing:

    CATCHING_UP --the tail covers `seen`--> LIVE --the tail has moved on--> CATCHING_UP
         |                                   |
         +--the store fails--> WAITING_FOR_STORE --it answers--> as before

Positions have no gaps, so errors are detected: a page that repeats a position, goes back, or
(without a filter) skips a position raises `StoreDamaged` instead of losing events silently.
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
"""The waits of readers after failures."""


class Mode(enum.Enum):
    """The source of the next page."""

    CATCHING_UP = "catching up"
    """The store."""
    LIVE = "live"
    """The tail that live subscriptions share in memory."""
    WAITING_FOR_STORE = "waiting for the store"
    """The store, which has failed and is read again after a back-off."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The selected events: all, those of one stream, or those of some kinds.

    Raises `SpecError` for a stream together with kinds, and for no kinds.
    """

    stream: str | None = None
    kinds: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.stream is not None and self.kinds is not None:
            raise SpecError(
                "a subscription names both a stream and kinds.",
                advice="Name one of the two, and select kinds of a stream's events yourself.",
            )
        if self.kinds == ():
            raise SpecError(
                "a subscription names no kinds.", advice="Leave `kinds` out for all events."
            )

    @property
    def takes_all(self) -> bool:
        """Whether the filter takes every event of the log."""
        return self.stream is None and self.kinds is None

    def test(self) -> Callable[[RecordedEvent], bool] | None:
        """A function that says whether an event is taken; None when all events are."""
        if self.stream is not None:
            stream = self.stream
            return lambda event: event.stream == stream
        if self.kinds is not None:
            kinds = frozenset(self.kinds)
            return lambda event: event.kind in kinds
        return None


class Page(NamedTuple):
    """Events after a position, and the position up to which the log was searched for them."""

    events: list[RecordedEvent]
    seen: int


class SubscriptionCore:
    """The progress of one subscription, and the source of its next page."""

    def __init__(self, taken: Filter, after: int) -> None:
        self.filter: Final = taken
        self.seen = after if taken.stream is None else 0
        """All events up to this position are delivered."""
        self.version = 0 if taken.stream is None else after
        """For the subscription to a stream: the version of the last delivered event."""
        self.mode = Mode.CATCHING_UP
        self.delivered = 0
        self.fallbacks = 0
        """How often it was too slow for the tail, and fell back to the store."""
        self.failures = 0
        """All failures of the store."""
        self.failed_in_a_row = 0
        """Failures of the store since its last reply."""

    def follow(self, *, is_in_tail: bool) -> None:
        """Note whether the tail reaches back to `seen`."""
        if is_in_tail:
            self.mode = Mode.LIVE
        else:
            self.fallbacks += self.mode is Mode.LIVE
            self.mode = Mode.CATCHING_UP

    def take_read(self, events: Sequence[RecordedEvent], head: int) -> list[RecordedEvent]:
        """Take a page from the store; `head` was known before the read. Gives its new events.

        Only an empty page shows that there are no more events up to `head`: a log that is an
        actor may give shorter pages than requested.
        """
        self.failed_in_a_row = 0
        self._check(events)
        last = events[-1].position if events else self.seen
        if not events and self.filter.takes_all and self.seen < head:
            raise _gap(f"nothing, with its head at {head},", self.seen)
        self.seen = max(self.seen, last if events else head)
        return self._hand_over(events)

    def take_tail(self, page: Page) -> list[RecordedEvent]:
        """Take a page from the tail. Gives its new events."""
        events = page.events
        if self.filter.stream is not None:
            # The tail begins at a position, but this subscription counts versions.
            events = [event for event in events if event.version > self.version]
        self._check(events)
        self.seen = max(self.seen, page.seen)
        return self._hand_over(events)

    def note_failure(self) -> float:
        """Note a failure of the store. Gives the wait before the next read, in seconds."""
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
            # Without a filter, the first and the last position prove those between.
            first, last = events[0].position, events[-1].position
            if first != self.seen + 1 or last != self.seen + len(events):
                raise _gap(f"positions {first} to {last} in {len(events)} events", self.seen)


def _gap(found: str, before: int) -> StoreDamaged:
    return StoreDamaged(
        f"the log gives {found} after {before}: an event is missing or repeated.",
        advice="Check the store with `callboard store check`; no event of this page was delivered.",
    )


class Tail:
    """The last events of a log, without gaps, shared by all live subscriptions.

    Holds at most `events_max`; older events are only in the store.
    """

    def __init__(self, events_max: int) -> None:
        self._events: deque[RecordedEvent] = deque(maxlen=events_max)
        self.end = 0
        """The position of the last event that was added."""

    @property
    def start(self) -> int:
        """The position before its first event: it holds all events after it, up to `end`."""
        return self.end - len(self._events)

    def covers(self, seen: int) -> bool:
        """Whether the event after `seen` is here, or is the next one to add."""
        return self.start <= seen <= self.end

    def begin(self, seen: int) -> None:
        """Drop all events: the next one to add is the event after `seen`."""
        self._events.clear()
        self.end = seen

    def add(self, events: Sequence[RecordedEvent]) -> None:
        """Add the next events of the log. Raises `StoreDamaged` when they do not follow `end`."""
        if not events:
            raise _gap("nothing with its head further on", self.end)
        first, last = events[0].position, events[-1].position
        if first != self.end + 1 or last != self.end + len(events):
            raise _gap(f"positions {first} to {last} in {len(events)} events", self.end)
        self._events.extend(events)
        self.end = last

    def page(self, seen: int, limit: int, test: Callable[[RecordedEvent], bool] | None) -> Page:
        """The events after `seen`, which it must cover: at most `limit` that pass the test."""
        assert self.covers(seen), (self.start, seen, self.end)
        behind = islice(self._events, seen - self.start, None)
        found: list[RecordedEvent] = []
        for event in behind:
            if test is None or test(event):
                found.append(event)
                if len(found) >= limit:
                    return Page(found, event.position)
        return Page(found, self.end)
