"""Which keys of one host are active. Events and `now` go in, effects come out. Pure.

    absent --message--> (WAITING) --room--> ACTIVATING --> ACTIVE <--> SAVING
                                                |            |           |
                                              absent <--- STOPPING <-----+

How a save ends, for one that stays and for one that is put away:

    saved         ACTIVE                        STOPPING
    failed        ACTIVE, again after a while   ACTIVE, again after a while
    conflict      ACTIVE, with a new actor      ACTIVE, with a new actor

Messages for a key that cannot take them are held here, in order, and are delivered when it
is active; what is held is bounded for each key and for all of them, but for messages whose
senders wait.
"""

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from callboard.messages.control.spec import Backoff

__all__ = [
    "Activate",
    "Deliver",
    "Effect",
    "Fail",
    "KeyRegionCore",
    "KeyRegionLimits",
    "Refuse",
    "Renew",
    "Save",
    "State",
    "Stop",
]

SAVE_RETRY: Final = Backoff(min_s=0.1, max_s=30.0)


class State(enum.Enum):
    """What a key is in; one that is not known is absent."""

    WAITING = "waiting"
    """It has messages, and too many others are active."""
    ACTIVATING = "activating"
    ACTIVE = "active"
    SAVING = "saving"
    """Its state is being saved; messages wait until that is over."""
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class KeyRegionLimits:
    """How many, and for how long."""

    active_max: int
    idle_s: float
    held_max: int
    """Messages that wait for one key."""
    held_total_max: int = 100_000


class Activate(NamedTuple):
    """Start the actor of a key, with its state; report `activated` or `activation_failed`."""

    key: str


class Deliver(NamedTuple):
    """Put a message into the mailbox of a key's actor."""

    key: str
    item: Any


class Save(NamedTuple):
    """Save the state of a key's actor, which is idle; report `saved` or `save_failed`."""

    key: str


class Stop(NamedTuple):
    """Stop the actor of a key, whose state is saved; report `gone`."""

    key: str


class Renew(NamedTuple):
    """Throw the actor of a key away: its supervisor makes another one from the kept state."""

    key: str


class Refuse(NamedTuple):
    """There is no room for a message."""

    key: str
    item: Any


class Fail(NamedTuple):
    """Messages whose actor could not be activated."""

    key: str
    items: tuple[Any, ...]


Effect = Activate | Deliver | Save | Stop | Renew | Refuse | Fail


class _Entry:
    __slots__ = ("busy", "failures", "held", "leaves", "retry_s", "state", "used_s")

    def __init__(self, now: float) -> None:
        self.state = State.WAITING
        self.held: deque[Any] = deque()
        self.busy = False
        self.used_s = now
        self.leaves = False
        """Whether it is stopped once it is saved."""
        self.failures = 0
        self.retry_s = 0.0


class KeyRegionCore:
    """The keys of one key region."""

    def __init__(self, limits: KeyRegionLimits) -> None:
        self.limits: Final = limits
        self.entries: dict[str, _Entry] = {}
        """Those that are idle are in the order of their last use."""
        self.waiting: dict[str, None] = {}
        """The keys that wait for room, in their order."""
        self.active = 0
        """Keys that take up room: all but those that wait."""
        self.held = 0
        self.leaving = 0

    def state_of(self, key: str) -> State | None:
        """What a key is in; None when it is absent."""
        entry = self.entries.get(key)
        return None if entry is None else entry.state

    # --- messages -------------------------------------------------------------------------

    def arrived(
        self, key: str, item: Any, now: float, *, may_wait: bool = False, beside: int = 0
    ) -> list[Effect]:
        """A message for a key; one that may wait is never refused. `beside`: see `is_full`."""
        entry = self.entries.get(key)
        if entry is not None and entry.state is State.ACTIVE:
            entry.busy = True
            return [Deliver(key, item)]
        if not may_wait and self.is_full(key, beside):
            return [Refuse(key, item)]
        is_new = entry is None
        if entry is None:
            entry = self.entries[key] = _Entry(now)
            self.waiting[key] = None
        entry.held.append(item)
        self.held += 1
        return self._make_room(now) if is_new else []

    def is_full(self, key: str, beside: int = 0) -> bool:
        """Whether no more messages of a key that is not active are held.

        `beside` is how many more of the key its actor has in its mailbox: one that is being
        saved between two messages.
        """
        entry = self.entries.get(key)
        held = beside + (0 if entry is None else len(entry.held))
        return held >= self.limits.held_max or self.held >= self.limits.held_total_max

    def drain(self) -> list[Any]:
        """Everything that is held: nobody will be activated for it."""
        items: list[Any] = []
        for entry in self.entries.values():
            items.extend(entry.held)
            entry.held.clear()
        self.held = 0
        for key in self.waiting:
            del self.entries[key]
        self.waiting.clear()
        return items

    def returned(self, key: str, items: Iterable[Any]) -> None:
        """An actor that ends by itself gives back what it has not handled."""
        entry = self.entries[key]
        if entry.state is State.ACTIVE:
            entry.state = State.STOPPING
            self.leaving += 1
        returned = list(items)
        entry.held.extendleft(reversed(returned))
        self.held += len(returned)

    # --- life -----------------------------------------------------------------------------

    def activated(self, key: str, now: float) -> list[Effect]:
        """The actor of a key runs."""
        entry = self.entries[key]
        assert entry.state is State.ACTIVATING, entry.state
        entry.state = State.ACTIVE
        return [*self._release(key, entry), *self._make_room(now)]

    def activation_failed(self, key: str, now: float) -> list[Effect]:
        """The actor of a key did not start: what waits for it fails, the next one tries again."""
        entry = self.entries[key]
        assert entry.state is State.ACTIVATING, entry.state
        items = tuple(entry.held)
        entry.held.clear()
        self.held -= len(items)
        del self.entries[key]
        self.active -= 1
        return [Fail(key, items), *self._make_room(now)]

    def idle(self, key: str, now: float) -> list[Effect]:
        """The actor of a key has handled everything."""
        entry = self.entries.get(key)
        if entry is None or entry.state is not State.ACTIVE:
            return []
        entry.busy = False
        entry.used_s = now
        self.entries[key] = self.entries.pop(key)  # The last in the order of use.
        return self._make_room(now)

    def save(self, key: str, now: float) -> list[Effect]:
        """The state of a quiet actor is to be saved now; it stays."""
        entry = self.entries.get(key)
        if entry is None or entry.state is not State.ACTIVE or now < entry.retry_s:
            return []
        entry.state = State.SAVING
        return [Save(key)]

    def saved(self, key: str, now: float) -> list[Effect]:
        """The state of a key is saved."""
        entry = self.entries[key]
        assert entry.state is State.SAVING, entry.state
        entry.failures = 0
        entry.retry_s = 0.0
        if entry.leaves:
            entry.state = State.STOPPING
            return [Stop(key)]
        return self._stay(key, entry)

    def save_failed(self, key: str, now: float) -> list[Effect]:
        """The state of a key could not be saved: it stays active, and is tried again later."""
        entry = self.entries[key]
        assert entry.state is State.SAVING, entry.state
        entry.failures += 1
        entry.retry_s = now + SAVE_RETRY.delay_s(entry.failures)
        return [*self._stay(key, entry), *self._make_room(now)]

    def conflicted(self, key: str, now: float) -> list[Effect]:
        """Somebody has saved a newer state: what the actor has is worth nothing.

        Whether it was to stay or not, it is renewed; what waits for it waits for the next
        incarnation, which is busy until it is reported idle.
        """
        entry = self.entries[key]
        assert entry.state is State.SAVING, entry.state
        entry.busy = True
        entry.failures = 0
        entry.retry_s = 0.0
        return [Renew(key), *self._stay(key, entry), *self._make_room(now)]

    def gone(self, key: str, now: float) -> list[Effect]:
        """The actor of a key has ended."""
        entry = self.entries.get(key)
        if entry is None or entry.state in {State.WAITING, State.ACTIVATING}:
            return []  # A start that failed is told by `activation_failed`.
        if entry.leaves or entry.state is State.STOPPING:
            self.leaving -= 1
        self.active -= 1
        del self.entries[key]
        if entry.held:
            again = self.entries[key] = _Entry(now)
            again.held = entry.held
            self.waiting[key] = None
        return self._make_room(now)

    def tick(self, now: float, *, is_over_memory: bool = False) -> list[Effect]:
        """Time has passed: put away who has been idle for long, or anyone when memory is short."""
        effects = self._make_room(now)
        over = max(1, self.active // 8) if is_over_memory else 0
        for key, entry in self.entries.items():
            if not self._may_leave(entry, now):
                continue
            if over:
                over -= 1
            elif now - entry.used_s < self.limits.idle_s:
                break  # The others have been used later.
            effects.append(self._leave(key, entry))
        return effects

    # --- inside ---------------------------------------------------------------------------

    def _may_leave(self, entry: _Entry, now: float) -> bool:
        return entry.state is State.ACTIVE and not entry.busy and now >= entry.retry_s

    def _leave(self, key: str, entry: _Entry) -> Effect:
        entry.state = State.SAVING
        entry.leaves = True
        self.leaving += 1
        return Save(key)

    def _stay(self, key: str, entry: _Entry) -> list[Effect]:
        entry.state = State.ACTIVE
        if entry.leaves:
            entry.leaves = False
            self.leaving -= 1
        return self._release(key, entry)

    def _release(self, key: str, entry: _Entry) -> list[Effect]:
        items, entry.held = entry.held, deque()
        self.held -= len(items)
        if items:
            entry.busy = True
        return [Deliver(key, item) for item in items]

    def _make_room(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self.waiting and self.active < self.limits.active_max:
            key = next(iter(self.waiting))
            del self.waiting[key]
            self.entries[key].state = State.ACTIVATING
            self.active += 1
            effects.append(Activate(key))
        wanted = len(self.waiting) - self.leaving
        if wanted > 0:
            for key, entry in self.entries.items():
                if self._may_leave(entry, now):
                    effects.append(self._leave(key, entry))
                    wanted -= 1
                    if wanted <= 0:
                        break
        return effects

    def validate_state(self) -> None:
        """Assert what must always hold."""
        entries = self.entries
        assert self.active == sum(e.state is not State.WAITING for e in entries.values())
        assert self.active <= self.limits.active_max
        assert self.held == sum(len(e.held) for e in entries.values())
        idle = [e.used_s for e in entries.values() if e.state is State.ACTIVE and not e.busy]
        assert idle == sorted(idle)
        assert list(self.waiting) == [k for k in self.waiting if entries[k].state is State.WAITING]
        assert len(self.waiting) == sum(e.state is State.WAITING for e in entries.values())
        assert not any(e.held for e in entries.values() if e.state is State.ACTIVE)
        assert all(e.held for e in entries.values() if e.state is State.WAITING)
        assert self.leaving == sum(e.leaves or e.state is State.STOPPING for e in entries.values())
