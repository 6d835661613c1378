"""The assignment of events to the consumers of a group. Events and `now` in, effects out. Pure.

| from | event | to |
|---|---|---|
| READY | a consumer has room, and no earlier event of the same key is open | IN_FLIGHT |
| IN_FLIGHT | ack by its consumer | DONE |
| IN_FLIGHT | nack, its consumer leaves, or the time for the ack is over | WAITING |
| IN_FLIGHT | the same, after the last attempt | PARKED |
| WAITING | the back-off is over | READY |
| PARKED | replay | READY, with its attempts from 0 |
| PARKED | drop | DONE |

An acknowledgement after the timeout of its delivery is too late and changes nothing: the event
was delivered again by then.

The checkpoint is the highest position up to which all events are done or parked. A parked event
holds up neither the checkpoint nor other events. At most `window_max` of the group's events lie
between the checkpoint and the event that was taken last.

Order: without keys, none is promised. With keys, one event of each key is open at a time, in
their order; after an event is parked, the next one of its key follows.
"""

import enum
import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from callboard.messages.control.spec import Backoff
from callboard.messages.core.errors import SpecError

__all__ = ["ConsumersCore", "ConsumersLimits", "Deliver", "Effect", "Entry", "Park", "State"]

STALE_MAX: Final = 64
"""Due times of events that are done already, in addition to one for each open event."""


class State(enum.Enum):
    """The state of an event; events up to the checkpoint are done or parked."""

    READY = "ready"
    IN_FLIGHT = "in flight"
    WAITING = "waiting"
    """An attempt has failed; the event is retried after its back-off."""
    PARKED = "parked"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ConsumersLimits:
    """The limits of a group; times in seconds. Raises `SpecError` for a value out of range."""

    window_max: int = 10_000
    """The most events between the checkpoint and the event that was taken last."""
    attempts_max: int = 5
    """The most deliveries of one event, the first included; after the last one it is parked."""
    ack_timeout_s: float = 30.0
    """How long a consumer may take to acknowledge a delivery."""
    backoff_s_min: float = 0.2
    """The wait before the first retry; it doubles up to `backoff_s_max`."""
    backoff_s_max: float = 30.0
    """The longest wait before a retry."""
    history_max: int = 20
    """The number of last attempts whose reasons are kept."""

    def __post_init__(self) -> None:
        counts, times = (self.window_max, self.attempts_max, self.history_max), self.ack_timeout_s
        if min(counts) < 1 or times <= 0 or not 0 <= self.backoff_s_min <= self.backoff_s_max:
            raise SpecError(
                f"the limits of the consumers are out of range: {self}.",
                advice="Counts must be at least 1, ack_timeout_s above 0, and backoff_s_min from "
                "0 to backoff_s_max.",
            )


class Deliver(NamedTuple):
    """Deliver the event to the consumer."""

    position: int
    consumer: str
    attempt: int


class Park(NamedTuple):
    """Park the event, with the reasons of its failed attempts."""

    position: int
    attempts: int
    reasons: tuple[str, ...]


Effect = Deliver | Park


@dataclass(slots=True)
class Entry:
    """An event between the checkpoint and the event that was taken last, or a parked one."""

    position: int
    key: str | None
    state: State = State.READY
    attempts: int = 0
    consumer: str = ""
    due_s: float = 0.0
    """When the time for its acknowledgement, or its back-off, is over."""
    reasons: list[str] = field(default_factory=list)
    is_replay: bool = False
    """Whether it was parked before, so that it does not hold up the checkpoint."""


@dataclass(slots=True)
class _Consumer:
    capacity: int
    open: set[int] = field(default_factory=set)


class ConsumersCore:
    """The decisions of one group, from a checkpoint on."""

    def __init__(self, limits: ConsumersLimits, checkpoint: int, done: Iterable[int] = ()) -> None:
        self.limits: Final = limits
        self._backoff = Backoff(limits.backoff_s_min, limits.backoff_s_max)
        self.checkpoint = checkpoint
        self.taken = checkpoint
        """The position up to which events have been taken in."""
        self.entries: dict[int, Entry] = {}
        """The open events: neither done nor parked, those that are being replayed included."""
        self.parked: dict[int, Entry] = {}
        self._known_done = {position for position in done if position > checkpoint}
        """Positions above `taken` that an earlier incarnation of the group has done."""
        self._above: deque[int] = deque()
        """Positions above the checkpoint that were not done when they were taken, in order."""
        self._done: set[int] = set()
        self._consumers: dict[str, _Consumer] = {}
        self._free: deque[str] = deque()
        """Consumers with room, in turn; some may have become full since."""
        self._ready: list[int] = []
        self._open_by_key: dict[str, deque[int]] = {}
        """The open events of each key, in order; only the first may be delivered."""
        self._due: list[tuple[float, int]] = []
        self.acks = self.nacks = self.timeouts = self.late = self.parkings = 0

    # --- consumers --------------------------------------------------------------------------

    def add_consumer(self, consumer: str, capacity: int, now: float) -> list[Effect]:
        """Add a consumer that takes up to `capacity` events at once. Raises `SpecError`."""
        if consumer in self._consumers or capacity < 1:
            raise SpecError(
                f"consumer {consumer!r} with capacity {capacity} cannot join the group.",
                advice="Give each consumer its own name and a capacity of at least 1.",
            )
        self._consumers[consumer] = _Consumer(capacity)
        self._free.append(consumer)
        return self._assign(now)

    def remove_consumer(self, consumer: str, now: float) -> list[Effect]:
        """Remove a consumer: the events that it has not acknowledged go to others."""
        gone = self._consumers.pop(consumer, None)
        if gone is None:
            return []
        if consumer in self._free:
            self._free.remove(consumer)
        effects: list[Effect] = []
        for position in sorted(gone.open):
            effects += self._fail(self.entries[position], f"{consumer} has left", now)
        return effects + self._assign(now)

    # --- events -----------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """The number of events for which there is room now."""
        return self.limits.window_max - len(self._above)

    def take_in(self, events: Iterable[tuple[int, str | None]], now: float) -> list[Effect]:
        """Take events in, in the order of their positions, each with its key or None."""
        for position, key in events:
            assert position > self.taken, (position, self.taken)
            self.taken = position
            if position in self._known_done:
                self._known_done.discard(position)
                self._done.add(position)
                continue
            self._above.append(position)
            self._open(Entry(position, key))
        self._advance()
        return self._assign(now)

    def skip_to(self, seen: int) -> None:
        """Note that the group has no other events up to this position."""
        self.taken = max(self.taken, seen)
        self._advance()

    def has(self, consumer: str, position: int, attempt: int) -> bool:
        """Whether this consumer may still acknowledge the delivery."""
        entry = self.entries.get(position)
        return (
            entry is not None
            and entry.state is State.IN_FLIGHT
            and (entry.consumer, entry.attempts) == (consumer, attempt)
        )

    def ack(
        self, consumer: str, position: int, attempt: int, now: float
    ) -> tuple[bool, list[Effect]]:
        """A consumer has done an event. Gives False, with no effect, if this is too late."""
        entry = self._open_of(consumer, position, attempt)
        if entry is None:
            return False, []
        self.acks += 1
        self._release(entry)
        self._finish(entry)
        return True, self._assign(now)

    def nack(
        self, consumer: str, position: int, attempt: int, reason: str, now: float
    ) -> tuple[bool, list[Effect]]:
        """A consumer could not do an event. Gives False, with no effect, if this is too late."""
        entry = self._open_of(consumer, position, attempt)
        if entry is None:
            return False, []
        self.nacks += 1
        effects = self._fail(entry, reason, now)
        return True, effects + self._assign(now)

    def tick(self, now: float) -> list[Effect]:
        """Handle overdue acknowledgements, and back-offs that are over."""
        effects: list[Effect] = []
        while self._due and self._due[0][0] <= now:
            due_s, position = heapq.heappop(self._due)
            entry = self.entries.get(position)
            if entry is None or entry.due_s != due_s:
                continue  # The event was done, or delivered again, in the meantime.
            match entry.state:
                case State.IN_FLIGHT:
                    self.timeouts += 1
                    reason = f"{entry.consumer} has not acknowledged it in time"
                    effects += self._fail(entry, reason, now)
                case State.WAITING:
                    entry.state = State.READY
                    heapq.heappush(self._ready, position)
                case _:
                    pass
        return effects + self._assign(now)

    @property
    def due_s(self) -> float | None:
        """When to call `tick` next: never too late, sometimes without need."""
        return self._due[0][0] if self._due else None

    # --- parked events ------------------------------------------------------------------------

    def keep_parked(self, position: int, key: str | None, reasons: Iterable[str]) -> None:
        """Add an event that was parked before this incarnation of the group."""
        entry = Entry(position, key, State.PARKED, self.limits.attempts_max)
        entry.reasons.extend(reasons)
        self.parked[position] = entry

    def replay(self, position: int, now: float) -> list[Effect]:
        """Open a parked event again; its key's order does not hold for it any more."""
        entry = self.parked.pop(position)
        entry.attempts = 0
        entry.is_replay = True
        self._open(entry)
        return self._assign(now)

    def drop(self, position: int) -> None:
        """Mark a parked event as done."""
        del self.parked[position]

    # --- inside -------------------------------------------------------------------------------

    def _open(self, entry: Entry) -> None:
        entry.state = State.READY
        self.entries[entry.position] = entry
        if entry.key is not None:
            open_events = self._open_by_key.setdefault(entry.key, deque())
            open_events.append(entry.position)
            if len(open_events) > 1:
                return
        heapq.heappush(self._ready, entry.position)

    def _assign(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._ready and self._free:
            name = self._free[0]
            consumer = self._consumers[name]
            if len(consumer.open) >= consumer.capacity:
                self._free.popleft()
                continue
            entry = self.entries[heapq.heappop(self._ready)]
            assert entry.state is State.READY, entry
            entry.state = State.IN_FLIGHT
            entry.attempts += 1
            entry.consumer = name
            self._set_due(entry, now + self.limits.ack_timeout_s)
            consumer.open.add(entry.position)
            self._free.rotate(-1)
            effects.append(Deliver(entry.position, name, entry.attempts))
        return effects

    def _open_of(self, consumer: str, position: int, attempt: int) -> Entry | None:
        if self.has(consumer, position, attempt):
            return self.entries[position]
        self.late += 1
        return None

    def _set_due(self, entry: Entry, due_s: float) -> None:
        entry.due_s = due_s
        heapq.heappush(self._due, (due_s, entry.position))
        if len(self._due) > 2 * len(self.entries) + STALE_MAX:
            # Events that are done leave their times behind: this keeps a fast group's list short.
            timed = (State.IN_FLIGHT, State.WAITING)
            entries = self.entries.values()
            self._due = [(e.due_s, e.position) for e in entries if e.state in timed]
            heapq.heapify(self._due)

    def _release(self, entry: Entry) -> None:
        """Give the event's consumer room again."""
        consumer = self._consumers.get(entry.consumer)
        if consumer is not None:
            if len(consumer.open) >= consumer.capacity and entry.consumer not in self._free:
                self._free.append(entry.consumer)
            consumer.open.discard(entry.position)
        entry.consumer = ""

    def _fail(self, entry: Entry, reason: str, now: float) -> list[Effect]:
        self._release(entry)
        entry.reasons.append(f"attempt {entry.attempts}: {reason}")
        del entry.reasons[: -self.limits.history_max]
        if entry.attempts < self.limits.attempts_max:
            entry.state = State.WAITING
            self._set_due(entry, now + self._backoff.delay_s(entry.attempts))
            return []
        self.parkings += 1
        self._finish(entry)
        entry.state = State.PARKED
        self.parked[entry.position] = entry
        return [Park(entry.position, entry.attempts, tuple(entry.reasons))]

    def _finish(self, entry: Entry) -> None:
        """Close the event: it holds up neither the checkpoint nor its key any more."""
        entry.state = State.DONE
        del self.entries[entry.position]
        if entry.key is not None:
            open_events = self._open_by_key[entry.key]
            assert open_events[0] == entry.position, (open_events, entry)
            open_events.popleft()
            if open_events:
                heapq.heappush(self._ready, open_events[0])
            else:
                del self._open_by_key[entry.key]
        if entry.position > self.checkpoint:
            self._done.add(entry.position)
            self._advance()

    def _advance(self) -> None:
        above, done = self._above, self._done
        while above and above[0] in done:
            done.discard(above.popleft())
        before = self.checkpoint
        self.checkpoint = max(before, above[0] - 1 if above else self.taken)
        if self.checkpoint > before and len(done) > len(above):
            self._done = {position for position in done if position > self.checkpoint}

    @property
    def first_open(self) -> int | None:
        """The first event above the checkpoint, which holds the checkpoint up."""
        return self._above[0] if self._above else None

    def done_above(self) -> list[int]:
        """The positions above the checkpoint that are done, so that a restart skips them."""
        return sorted(
            position for position in self._done | self._known_done if position > self.checkpoint
        )

    def validate_state(self) -> None:
        """Assert the invariants."""
        entries, consumers = self.entries.values(), self._consumers
        in_flight = [entry for entry in entries if entry.state is State.IN_FLIGHT]
        assert sum(len(consumer.open) for consumer in consumers.values()) == len(in_flight)
        assert all(entry.position in consumers[entry.consumer].open for entry in in_flight)
        assert all(len(consumer.open) <= consumer.capacity for consumer in consumers.values())
        assert len(self._free) == len(set(self._free))
        assert not self.parked.keys() & self.entries.keys()
        assert all(entry.state is State.PARKED for entry in self.parked.values())
        assert self.checkpoint <= self.taken
        assert len(self._above) <= self.limits.window_max
        first = {e.position for e in entries if not e.is_replay}
        assert all(position > self.checkpoint for position in first)
        assert first <= set(self._above)
        heads = {open_events[0] for open_events in self._open_by_key.values()}
        assert all(
            entry.state is State.READY or entry.key is None or entry.position in heads
            for entry in entries
        )
        ready = {
            entry.position
            for entry in entries
            if entry.state is State.READY and (entry.key is None or entry.position in heads)
        }
        assert sorted(self._ready) == sorted(ready)
        has_room = any(len(c.open) < c.capacity for c in consumers.values())
        assert not (ready and has_room), (ready, consumers)
