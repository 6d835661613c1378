"""Who of a group works on which event. Events and `now` go in, effects come out. Pure.

| from | what happens | to |
|---|---|---|
| READY | a consumer has room, and nothing before it of its key is open | IN_FLIGHT |
| IN_FLIGHT | ack by its consumer | DONE |
| IN_FLIGHT | nack, its consumer leaves, or the time for the ack is over | WAITING |
| IN_FLIGHT | the same, and it was the last attempt | PARKED |
| WAITING | the back-off is over | READY |
| PARKED | replay | READY, with its attempts from 0 |
| PARKED | drop | DONE |

An acknowledgement of a delivery that has timed out is too late: it changes nothing, since
somebody else has the event by then, or the same consumer a second time.

The checkpoint is the highest position below which everything is done or parked. What is
parked is kept aside, so it holds nothing up. At most `window_max` of the group's events lie
between the checkpoint and what was taken last.

Order: without a key, none is promised. With one, of each key one event is open at a time, in
their order; an event that is parked lets the next one of its key go on.
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
"""Times kept of what is done already, beside one for each that is open."""


class State(enum.Enum):
    """What an event of the group is in; one behind the checkpoint is done, or parked."""

    READY = "ready"
    IN_FLIGHT = "in flight"
    WAITING = "waiting"
    """It has failed, and is tried again after its back-off."""
    PARKED = "parked"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ConsumersLimits:
    """How many, and for how long."""

    window_max: int = 10_000
    """Events between the checkpoint and the one that was taken last."""
    attempts_max: int = 5
    """Deliveries of one event, the first included; after the last one it is parked."""
    ack_timeout_s: float = 30.0
    backoff_s_min: float = 0.2
    backoff_s_max: float = 30.0
    history_max: int = 20
    """Attempts whose reasons are kept, the last ones."""

    def __post_init__(self) -> None:
        counts, times = (self.window_max, self.attempts_max, self.history_max), self.ack_timeout_s
        if min(counts) < 1 or times <= 0 or not 0 <= self.backoff_s_min <= self.backoff_s_max:
            raise SpecError(
                f"limits of consumers: {self}.",
                advice="Counts are from 1 on, times over 0, the back-off grows.",
            )


class Deliver(NamedTuple):
    """Give the event to the consumer."""

    position: int
    consumer: str
    attempt: int


class Park(NamedTuple):
    """Keep the event aside, with its reasons."""

    position: int
    attempts: int
    reasons: tuple[str, ...]


Effect = Deliver | Park


@dataclass(slots=True)
class Entry:
    """One event between the checkpoint and what was taken last, or parked."""

    position: int
    key: str | None
    state: State = State.READY
    attempts: int = 0
    consumer: str = ""
    due_s: float = 0.0
    """When its acknowledgement, or its back-off, is over."""
    reasons: list[str] = field(default_factory=list)
    is_replay: bool = False
    """Whether it was parked before: it holds up no checkpoint."""


@dataclass(slots=True)
class _Consumer:
    capacity: int
    open: set[int] = field(default_factory=set)


class ConsumersCore:
    """The group, from a checkpoint on."""

    def __init__(self, limits: ConsumersLimits, checkpoint: int, done: Iterable[int] = ()) -> None:
        self.limits: Final = limits
        self._backoff = Backoff(limits.backoff_s_min, limits.backoff_s_max)
        self.checkpoint = checkpoint
        self.taken = checkpoint
        """The position up to which events have been taken in."""
        self.entries: dict[int, Entry] = {}
        """Those that are neither done nor parked."""
        self.parked: dict[int, Entry] = {}
        """Those that were parked and are being replayed are in `entries`."""
        self._known_done = {position for position in done if position > checkpoint}
        """Positions behind `taken` that an earlier life of the group has done."""
        self._above: deque[int] = deque()
        """Positions behind the checkpoint that were not done when they were taken, in order."""
        self._done: set[int] = set()
        self._consumers: dict[str, _Consumer] = {}
        self._free: deque[str] = deque()
        """Consumers with room, in turn; one may stand here that has none any more."""
        self._ready: list[int] = []
        self._open_by_key: dict[str, deque[int]] = {}
        """Of each key the open events, in order; only the first may be given out."""
        self._due: list[tuple[float, int]] = []
        self.acks = self.nacks = self.timeouts = self.late = self.parkings = 0

    # --- consumers --------------------------------------------------------------------------

    def joined(self, consumer: str, capacity: int, now: float) -> list[Effect]:
        """A consumer has come that takes so many events at once."""
        if consumer in self._consumers or capacity < 1:
            raise SpecError(
                f"consumer {consumer!r} with capacity {capacity}.",
                advice="Each consumer has a name of its own and takes at least one event.",
            )
        self._consumers[consumer] = _Consumer(capacity)
        self._free.append(consumer)
        return self._give_out(now)

    def left(self, consumer: str, now: float) -> list[Effect]:
        """A consumer has gone: what it has not acknowledged goes to others."""
        gone = self._consumers.pop(consumer, None)
        if gone is None:
            return []
        if consumer in self._free:
            self._free.remove(consumer)
        effects: list[Effect] = []
        for position in sorted(gone.open):
            effects += self._failed(self.entries[position], f"{consumer} has left", now)
        return effects + self._give_out(now)

    # --- events -----------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more events may be taken in now."""
        return self.limits.window_max - len(self._above)

    def arrived(self, events: Iterable[tuple[int, str | None]], now: float) -> list[Effect]:
        """Events have come, in the order of their positions, each with its key or None."""
        for position, key in events:
            assert position > self.taken, (position, self.taken)
            self.taken = position
            if position in self._known_done:
                self._known_done.discard(position)
                self._done.add(position)
                continue
            self._above.append(position)
            self._enter(Entry(position, key))
        self._advance()
        return self._give_out(now)

    def passed(self, seen: int) -> None:
        """Up to here there are no other events for this group."""
        self.taken = max(self.taken, seen)
        self._advance()

    def has(self, consumer: str, position: int, attempt: int) -> bool:
        """Whether a delivery is still this consumer's to answer."""
        entry = self.entries.get(position)
        return (
            entry is not None
            and entry.state is State.IN_FLIGHT
            and (entry.consumer, entry.attempts) == (consumer, attempt)
        )

    def ack(
        self, consumer: str, position: int, attempt: int, now: float
    ) -> tuple[bool, list[Effect]]:
        """A consumer has done an event. False when it is not his: it comes too late."""
        entry = self._open_of(consumer, position, attempt)
        if entry is None:
            return False, []
        self.acks += 1
        self._release(entry)
        self._finish(entry)
        return True, self._give_out(now)

    def nack(
        self, consumer: str, position: int, attempt: int, reason: str, now: float
    ) -> tuple[bool, list[Effect]]:
        """A consumer could not do an event. False when it is not his: it comes too late."""
        entry = self._open_of(consumer, position, attempt)
        if entry is None:
            return False, []
        self.nacks += 1
        effects = self._failed(entry, reason, now)
        return True, effects + self._give_out(now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: acknowledgements are overdue, back-offs are over."""
        effects: list[Effect] = []
        while self._due and self._due[0][0] <= now:
            due_s, position = heapq.heappop(self._due)
            entry = self.entries.get(position)
            if entry is None or entry.due_s != due_s:
                continue  # It was done, or given out again, in the meantime.
            match entry.state:
                case State.IN_FLIGHT:
                    self.timeouts += 1
                    reason = f"{entry.consumer} has not acknowledged it in time"
                    effects += self._failed(entry, reason, now)
                case State.WAITING:
                    entry.state = State.READY
                    heapq.heappush(self._ready, position)
                case _:
                    pass
        return effects + self._give_out(now)

    @property
    def due_s(self) -> float | None:
        """When `tick` is to be called next; never later than needed, maybe for nothing."""
        return self._due[0][0] if self._due else None

    # --- what is parked -----------------------------------------------------------------------

    def keep_parked(self, position: int, key: str | None, reasons: Iterable[str]) -> None:
        """An event was parked before this group began."""
        entry = Entry(position, key, State.PARKED, self.limits.attempts_max)
        entry.reasons.extend(reasons)
        self.parked[position] = entry

    def replay(self, position: int, now: float) -> list[Effect]:
        """Try a parked event again. It is put before nothing: what came later went on."""
        entry = self.parked.pop(position)
        entry.attempts = 0
        entry.is_replay = True
        self._enter(entry)
        return self._give_out(now)

    def drop(self, position: int) -> None:
        """Let a parked event be done."""
        del self.parked[position]

    # --- inside -------------------------------------------------------------------------------

    def _enter(self, entry: Entry) -> None:
        entry.state = State.READY
        self.entries[entry.position] = entry
        if entry.key is not None:
            open_events = self._open_by_key.setdefault(entry.key, deque())
            open_events.append(entry.position)
            if len(open_events) > 1:
                return
        heapq.heappush(self._ready, entry.position)

    def _give_out(self, now: float) -> list[Effect]:
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
            # What is done leaves its time behind: without this, a fast group keeps a long list.
            timed = (State.IN_FLIGHT, State.WAITING)
            entries = self.entries.values()
            self._due = [(e.due_s, e.position) for e in entries if e.state in timed]
            heapq.heapify(self._due)

    def _release(self, entry: Entry) -> None:
        """Its consumer has room again."""
        consumer = self._consumers.get(entry.consumer)
        if consumer is not None:
            if len(consumer.open) >= consumer.capacity and entry.consumer not in self._free:
                self._free.append(entry.consumer)
            consumer.open.discard(entry.position)
        entry.consumer = ""

    def _failed(self, entry: Entry, reason: str, now: float) -> list[Effect]:
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
        """It holds up neither the checkpoint nor its key any more."""
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
        """The first event behind the checkpoint: it holds it up."""
        return self._above[0] if self._above else None

    def done_above(self) -> list[int]:
        """What is done behind the checkpoint: after a restart it is not given out again."""
        return sorted(
            position for position in self._done | self._known_done if position > self.checkpoint
        )

    def validate_state(self) -> None:
        """Assert what must always hold."""
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
