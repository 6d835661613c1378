"""The core of a key region: which keys of one host are active.

It is pure: events and `now` go in, effects come out.

    absent --message--> (WAITING) --room--> ACTIVATING --> ACTIVE <--> SAVING
                                                |            |           |
                                              absent <--- STOPPING <-----+

The outcome of a save, for an actor that stays and for one that passivates:

    outcome       stays                         passivates
    saved         ACTIVE                        STOPPING
    failed        ACTIVE, again after a while   ACTIVE, again after a while
    conflict      ACTIVE, with a new actor      ACTIVE, with a new actor

The core holds the messages for a key that is not active, in order, and delivers them when it
is. The number of held messages is bounded for each key and in all; messages whose senders wait
are not refused.
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
    """The state of a key; an unknown key is absent."""

    WAITING = "waiting"
    """It has messages, but too many other keys are active."""
    ACTIVATING = "activating"
    ACTIVE = "active"
    SAVING = "saving"
    """A save is running; messages wait for its end."""
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class KeyRegionLimits:
    """The limits of a key region."""

    active_max: int
    idle_s: float
    held_max: int
    """Messages that wait for one key."""
    held_total_max: int = 100_000


class Activate(NamedTuple):
    """Start the actor of a key with its state; report `activated` or `activation_failed`."""

    key: str


class Deliver(NamedTuple):
    """Put a message into the mailbox of a key's actor."""

    key: str
    item: Any


class Save(NamedTuple):
    """Save the state of a key's idle actor; report the outcome by a `save_...` event."""

    key: str


class Stop(NamedTuple):
    """Stop the actor of a key, whose state is saved; report `actor_ended`."""

    key: str


class Renew(NamedTuple):
    """Replace the actor of a key: its supervisor makes a new one from the stored state."""

    key: str


class Refuse(NamedTuple):
    """There is no room for a message."""

    key: str
    item: Any


class Fail(NamedTuple):
    """Messages of a key whose activation failed."""

    key: str
    items: tuple[Any, ...]


Effect = Activate | Deliver | Save | Stop | Renew | Refuse | Fail


class _Entry:
    __slots__ = ("busy", "failures", "held", "is_passivating", "retry_s", "state", "used_s")

    def __init__(self, now: float) -> None:
        self.state = State.WAITING
        self.held: deque[Any] = deque()
        self.busy = False
        self.used_s = now
        self.is_passivating = False
        """Whether it stops after the save."""
        self.failures = 0
        self.retry_s = 0.0


class KeyRegionCore:
    """The keys of one key region."""

    def __init__(self, limits: KeyRegionLimits) -> None:
        self.limits: Final = limits
        self.entries: dict[str, _Entry] = {}
        """All keys; idle keys are in the order of their last use."""
        self.waiting: dict[str, None] = {}
        """The keys that wait for room, in their order."""
        self.active = 0
        """Keys that take up room: all but WAITING keys."""
        self.held = 0
        self.passivating = 0

    def state_of(self, key: str) -> State | None:
        """The state of a key; None when it is absent."""
        entry = self.entries.get(key)
        return None if entry is None else entry.state

    # --- messages -------------------------------------------------------------------------

    def message_arrived(
        self, key: str, item: Any, now: float, *, may_wait: bool = False, in_mailbox: int = 0
    ) -> list[Effect]:
        """Take a message for a key; never refuse one that may wait. `in_mailbox`: see `is_full`."""
        entry = self.entries.get(key)
        if entry is not None and entry.state is State.ACTIVE:
            entry.busy = True
            return [Deliver(key, item)]
        if not may_wait and self.is_full(key, in_mailbox):
            return [Refuse(key, item)]
        is_new = entry is None
        if entry is None:
            entry = self.entries[key] = _Entry(now)
            self.waiting[key] = None
        entry.held.append(item)
        self.held += 1
        return self._make_room(now) if is_new else []

    def is_full(self, key: str, in_mailbox: int = 0) -> bool:
        """Whether the core holds no more messages for a key that is not active.

        `in_mailbox` counts the messages in the actor's own mailbox, which it has during a save.
        """
        entry = self.entries.get(key)
        held = in_mailbox + (0 if entry is None else len(entry.held))
        return held >= self.limits.held_max or self.held >= self.limits.held_total_max

    def held_for(self, key: str) -> tuple[Any, ...]:
        """The held messages of a key, in order."""
        entry = self.entries.get(key)
        return () if entry is None else tuple(entry.held)

    def drain(self) -> list[Any]:
        """Return all held messages: no key will be activated for them."""
        items: list[Any] = []
        for entry in self.entries.values():
            items.extend(entry.held)
            entry.held.clear()
        self.held = 0
        for key in self.waiting:
            del self.entries[key]
        self.waiting.clear()
        return items

    def messages_returned(self, key: str, items: Iterable[Any]) -> None:
        """Take back the unhandled messages of an actor that ends by itself."""
        entry = self.entries[key]
        if entry.state is State.ACTIVE:
            entry.state = State.STOPPING
            self.passivating += 1
        returned = list(items)
        entry.held.extendleft(reversed(returned))
        self.held += len(returned)

    # --- activation, save, passivation ----------------------------------------------------

    def activated(self, key: str, now: float) -> list[Effect]:
        """The actor of a key runs."""
        entry = self.entries[key]
        assert entry.state is State.ACTIVATING, entry.state
        entry.state = State.ACTIVE
        return [*self._release(key, entry), *self._make_room(now)]

    def activation_failed(self, key: str, now: float) -> list[Effect]:
        """The actor of a key did not start: its messages fail, the next message tries again."""
        entry = self.entries[key]
        assert entry.state is State.ACTIVATING, entry.state
        items = tuple(entry.held)
        entry.held.clear()
        self.held -= len(items)
        del self.entries[key]
        self.active -= 1
        return [Fail(key, items), *self._make_room(now)]

    def actor_busy(self, key: str) -> None:
        """The actor of a key handles a message, perhaps one that came past the region."""
        entry = self.entries.get(key)
        if entry is not None and entry.state is not State.WAITING:
            entry.busy = True

    def actor_idle(self, key: str, now: float, *, was_used: bool = True) -> list[Effect]:
        """The actor of a key is idle; without `was_used`, only messages of its timers came."""
        entry = self.entries.get(key)
        if entry is None or entry.state is not State.ACTIVE:
            return []
        entry.busy = False
        if was_used:
            entry.used_s = now
            self.entries[key] = self.entries.pop(key)  # The last in the order of use.
        return self._make_room(now)

    def save(self, key: str, now: float) -> list[Effect]:
        """Save the state of a quiet actor that stays active."""
        entry = self.entries.get(key)
        if entry is None or entry.state is not State.ACTIVE or now < entry.retry_s:
            return []
        entry.state = State.SAVING
        return [Save(key)]

    def save_succeeded(self, key: str, now: float) -> list[Effect]:
        """The store has the state of a key."""
        entry = self.entries[key]
        assert entry.state is State.SAVING, entry.state
        entry.failures = 0
        entry.retry_s = 0.0
        if entry.is_passivating:
            entry.state = State.STOPPING
            return [Stop(key)]
        return self._keep_active(key, entry)

    def save_failed(self, key: str, now: float) -> list[Effect]:
        """A save failed: the actor stays active, and the next save comes later."""
        entry = self.entries[key]
        assert entry.state is State.SAVING, entry.state
        entry.failures += 1
        entry.retry_s = now + SAVE_RETRY.delay_s(entry.failures)
        return [*self._keep_active(key, entry), *self._make_room(now)]

    def save_conflicted(self, key: str, now: float) -> list[Effect]:
        """The store has a newer state, so the state of the actor is obsolete.

        The core renews the actor, even one that passivates. Its messages wait for the next
        incarnation, which counts as busy until the shell reports it idle.
        """
        entry = self.entries[key]
        assert entry.state is State.SAVING, entry.state
        entry.busy = True
        entry.failures = 0
        entry.retry_s = 0.0
        return [Renew(key), *self._keep_active(key, entry), *self._make_room(now)]

    def actor_ended(self, key: str, now: float) -> list[Effect]:
        """The actor of a key has ended."""
        entry = self.entries.get(key)
        if entry is None or entry.state in {State.WAITING, State.ACTIVATING}:
            return []  # `activation_failed` reports a failed start.
        if entry.is_passivating or entry.state is State.STOPPING:
            self.passivating -= 1
        self.active -= 1
        del self.entries[key]
        if entry.held:
            again = self.entries[key] = _Entry(now)
            again.held = entry.held
            self.waiting[key] = None
        return self._make_room(now)

    def tick(self, now: float, *, is_over_memory: bool = False) -> list[Effect]:
        """Passivate actors that have been idle for long, and others when memory is short."""
        effects = self._make_room(now)
        over = max(1, self.active // 8) if is_over_memory else 0
        for key, entry in self.entries.items():
            if not self._may_passivate(entry, now):
                continue
            if over:
                over -= 1
            elif now - entry.used_s < self.limits.idle_s:
                break  # The others are idle for less time.
            effects.append(self._passivate(key, entry))
        return effects

    # --- inside ---------------------------------------------------------------------------

    def _may_passivate(self, entry: _Entry, now: float) -> bool:
        return entry.state is State.ACTIVE and not entry.busy and now >= entry.retry_s

    def _passivate(self, key: str, entry: _Entry) -> Effect:
        entry.state = State.SAVING
        entry.is_passivating = True
        self.passivating += 1
        return Save(key)

    def _keep_active(self, key: str, entry: _Entry) -> list[Effect]:
        entry.state = State.ACTIVE
        if entry.is_passivating:
            entry.is_passivating = False
            self.passivating -= 1
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
        wanted = len(self.waiting) - self.passivating
        if wanted > 0:
            for key, entry in self.entries.items():
                if self._may_passivate(entry, now):
                    effects.append(self._passivate(key, entry))
                    wanted -= 1
                    if wanted <= 0:
                        break
        return effects

    def validate_state(self) -> None:
        """Assert the invariants."""
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
        assert self.passivating == sum(
            e.is_passivating or e.state is State.STOPPING for e in entries.values()
        )
