"""The table of ties: who watches whom, who is linked to whom, as one host knows it.

A tie joins two actors and has an end on each one's host: the asker's end, where it was
made, and the asked end, where its target lives. Each host keeps the ends of its own
actors; an actor of this host that is tied to another one of this host has both ends here.

Whatever ends a tie takes its end out of the table, and only what took it out acts on it.
So of a death notice, a lost link and a late answer exactly one counts: the first.

Ties hold for one incarnation. An end of an actor that is just being restarted belongs to
its next incarnation.
"""

import enum
from collections.abc import Iterable
from typing import NamedTuple

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.ref import Address

__all__ = ["Drop", "Effect", "End", "Key", "MonitorTable", "Notify", "Role", "Tell", "release"]


class Role(enum.IntEnum):
    """What the actor at one end of a tie is to the other."""

    WATCHER = 0
    WATCHED = 1
    PARTNER = 2
    """Of a link: both ends alike."""


class Key(NamedTuple):
    """Which end of which tie."""

    slot: int
    """The host where the tie was made."""
    number: int
    is_asked: bool
    """Whether this is the end that was asked for."""

    @property
    def other(self) -> "Key":
        """The other end of the same tie."""
        return Key(self.slot, self.number, not self.is_asked)


class End:
    """One end of a tie."""

    __slots__ = ("epoch", "here", "key", "role", "there")

    def __init__(self, key: Key, role: Role, here: int, there: Address, epoch: int) -> None:
        self.key = key
        self.role = role
        self.here = here
        """The cell on this host."""
        self.there = there
        """The other end's actor."""
        self.epoch = epoch
        """The incarnation of the other's host that knows of it; 0 while it was not told."""

    def __repr__(self) -> str:
        return f"<End {self.key} {self.role.name} {self.here} - {self.there} @{self.epoch}>"


class Notify(NamedTuple):
    """Let this end's actor know that the other has ended: by a notice, or a link's signal."""

    end: End
    reason: Exit
    comes_back: bool | None


class Tell(NamedTuple):
    """Tell the host of the other end that this one has ended."""

    end: End
    reason: Exit
    comes_back: bool | None


class Drop(NamedTuple):
    """Tell the host of the other end that this one is not interested any more."""

    end: End


Effect = Notify | Tell | Drop


class MonitorTable:
    """All ends on one host."""

    __slots__ = ("_asked", "_ends", "_here", "_number", "_slot", "_there")

    def __init__(self, slot: int) -> None:
        self._slot = slot
        self._number = 0
        self._ends: dict[Key, End] = {}
        self._here: dict[int, dict[Key, End]] = {}
        self._there: dict[int, dict[Key, End]] = {}
        self._asked: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._ends)

    # --- making -------------------------------------------------------------------------

    def ask(self, here: int, there: Address, *, is_link: bool) -> End:
        """Make the asker's end of a new tie; the other host has not been told of it yet."""
        self._number += 1
        self._asked[here] = self._asked.get(here, 0) + 1
        role = Role.PARTNER if is_link else Role.WATCHER
        return self._add(End(Key(self._slot, self._number, is_asked=False), role, here, there, 0))

    def accept(
        self, slot: int, number: int, here: int, there: Address, epoch: int, *, is_link: bool
    ) -> None:
        """Make the asked end; `epoch` is the incarnation of the asker's host."""
        role = Role.PARTNER if is_link else Role.WATCHED
        self._add(End(Key(slot, number, is_asked=True), role, here, there, epoch))

    def _add(self, end: End) -> End:
        assert end.key not in self._ends, "a number was used twice"
        self._ends[end.key] = end
        self._here.setdefault(end.here, {})[end.key] = end
        self._there.setdefault(end.there.slot, {})[end.key] = end
        return end

    # --- looking ------------------------------------------------------------------------

    def find(self, key: Key) -> End | None:
        """That end, if it is still there."""
        return self._ends.get(key)

    def of(self, here: int) -> list[End]:
        """All ends of one cell, in the order in which they were made."""
        return list(self._here.get(here, {}).values())

    def count_asked(self, here: int) -> int:
        """How many ties a cell has asked for itself."""
        return self._asked.get(here, 0)

    def between(self, here: int, there: Address, role: Role) -> list[End]:
        """The ends of one cell in that role towards one other actor."""
        return [end for end in self.of(here) if end.there == there and end.role is role]

    def pending_notifications(self, slot: int) -> list[End]:
        """What the host of that slot has still to be asked."""
        return [end for end in self._there.get(slot, {}).values() if not end.epoch]

    # --- ending ---------------------------------------------------------------------------

    def take(self, key: Key) -> End | None:
        """Take an end out of the table; None when something else was first."""
        end = self._ends.pop(key, None)
        if end is not None:
            _discard(self._here, end.here, key)
            _discard(self._there, end.there.slot, key)
            if not key.is_asked:
                left = self._asked.pop(end.here) - 1
                if left:
                    self._asked[end.here] = left
        return end

    def take_all(self, ends: Iterable[End]) -> list[End]:
        """Take these out, as far as they are still there."""
        return [end for end in ends if self.take(end.key) is not None]

    def detach(self, here: int) -> list[End]:
        """An incarnation has ended: take all its ends out; `release` says what follows."""
        return self.take_all(self.of(here))

    def abandon(self, here: int) -> list[End]:
        """An incarnation never ran: only what it asked for itself is taken out.

        What others have asked for is meant for the next incarnation.
        """
        return self.take_all(end for end in self.of(here) if not end.key.is_asked)

    def take_lost(self, slot: int, epoch: int) -> list[End]:
        """A host is gone: take out what that incarnation, or an earlier one, knew of.

        What it was never told waits for its next incarnation.
        """
        ends = self._there.get(slot, {})
        return self.take_all([end for end in ends.values() if 0 < end.epoch <= epoch])

    def take_slot(self, slot: int) -> list[End]:
        """A slot is gone for good: take everything out that leads there."""
        return self.take_all(list(self._there.get(slot, {}).values()))

    def peer_ended(self, key: Key, reason: Exit, *, comes_back: bool | None) -> list[Effect]:
        """The other host says that its end's actor has ended."""
        end = self.take(key)
        return [] if end is None else [Notify(end, reason, comes_back)]


def release(ends: Iterable[End], reason: Exit, *, comes_back: bool | None) -> list[Effect]:
    """What others are told when the actor at these ends has ended."""
    return [
        Drop(end) if end.role is Role.WATCHER else Tell(end, reason, comes_back) for end in ends
    ]


def _discard(index: dict[int, dict[Key, End]], place: int, key: Key) -> None:
    row = index[place]
    del row[key]
    if not row:
        del index[place]
