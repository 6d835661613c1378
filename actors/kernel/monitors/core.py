"""The monitor table: the watches and links of one host's actors. Pure.

A monitor (a watch or a link) joins two actors and has an end on the host of each: the
asker's end, on the host where it was made, and the asked end, on the host of its target. Each
host has the ends of its own actors; a monitor between two actors of one host has both there.

An event that ends a monitor takes its end out of the table, and only the event that took it
out acts on it. So of a death notice, a lost link and a late answer, exactly one counts: the
first.

A monitor holds for one incarnation. If an actor is just being restarted, the monitor belongs
to its next incarnation.
"""

import enum
from collections.abc import Iterable
from typing import NamedTuple

from callboard.messages.control.lifecycle import Exit
from callboard.messages.core.ref import Address

__all__ = [
    "DropEnd",
    "Effect",
    "End",
    "Key",
    "MonitorTable",
    "Notify",
    "ReportEnd",
    "Role",
    "release",
]


class Role(enum.IntEnum):
    """The role of the actor at one end of a monitor."""

    WATCHER = 0
    WATCHED = 1
    PARTNER = 2
    """The role at both ends of a link."""


class Key(NamedTuple):
    """The key of one end of a monitor."""

    slot: int
    """The slot of the host where the monitor was made."""
    number: int
    is_asked: bool
    """Whether this is the asked end."""

    @property
    def other(self) -> "Key":
        """The key of the monitor's other end."""
        return Key(self.slot, self.number, not self.is_asked)


class End:
    """One end of a monitor."""

    __slots__ = ("epoch", "here", "key", "role", "there")

    def __init__(self, key: Key, role: Role, here: int, there: Address, epoch: int) -> None:
        self.key = key
        self.role = role
        self.here = here
        """The cell on this host."""
        self.there = there
        """The address of the other end's actor."""
        self.epoch = epoch
        """The incarnation of the other host that has the other end; 0 before the request."""

    def __repr__(self) -> str:
        return f"<End {self.key} {self.role.name} {self.here} - {self.there} @{self.epoch}>"


class Notify(NamedTuple):
    """Notify this end's actor of the other's end, by a notice or by an exit signal."""

    end: End
    reason: Exit
    comes_back: bool | None


class ReportEnd(NamedTuple):
    """Tell the other end's host that this end's actor has ended."""

    end: End
    reason: Exit
    comes_back: bool | None


class DropEnd(NamedTuple):
    """Tell the other end's host to drop its end."""

    end: End


Effect = Notify | ReportEnd | DropEnd


class MonitorTable:
    """The ends of all monitors on one host."""

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

    # --- new monitors -------------------------------------------------------------------------

    def ask(self, here: int, there: Address, *, is_link: bool) -> End:
        """Make the asker's end of a new monitor, before the request to the other host."""
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

    # --- queries ------------------------------------------------------------------------------

    def find(self, key: Key) -> End | None:
        """The end with that key, if the table still has it."""
        return self._ends.get(key)

    def of(self, here: int) -> list[End]:
        """All ends of one cell, oldest first."""
        return list(self._here.get(here, {}).values())

    def count_asked(self, here: int) -> int:
        """How many monitors a cell has asked for."""
        return self._asked.get(here, 0)

    def between(self, here: int, there: Address, role: Role) -> list[End]:
        """The ends of one cell with that role and that other actor."""
        return [end for end in self.of(here) if end.there == there and end.role is role]

    def pending_requests(self, slot: int) -> list[End]:
        """The ends whose request has yet to be sent to that slot."""
        return [end for end in self._there.get(slot, {}).values() if not end.epoch]

    # --- ends ---------------------------------------------------------------------------------

    def take(self, key: Key) -> End | None:
        """Take an end out of the table; None when another event was first."""
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
        """Take out those ends that the table still has."""
        return [end for end in ends if self.take(end.key) is not None]

    def detach(self, here: int) -> list[End]:
        """An incarnation has ended: take all its ends out, for `release`."""
        return self.take_all(self.of(here))

    def abandon(self, here: int) -> list[End]:
        """An incarnation never ran: take out only the ends that it asked for.

        The asked ends belong to the next incarnation.
        """
        return self.take_all(end for end in self.of(here) if not end.key.is_asked)

    def take_lost(self, slot: int, epoch: int) -> list[End]:
        """A host is lost: take out the ends that this incarnation, or an earlier one, had.

        An end without a request waits for the next incarnation of the host.
        """
        ends = self._there.get(slot, {})
        return self.take_all([end for end in ends.values() if 0 < end.epoch <= epoch])

    def take_slot(self, slot: int) -> list[End]:
        """A slot has ended for good: take out all ends to it."""
        return self.take_all(list(self._there.get(slot, {}).values()))

    def peer_ended(self, key: Key, reason: Exit, *, comes_back: bool | None) -> list[Effect]:
        """The other host reports that its end's actor has ended."""
        end = self.take(key)
        return [] if end is None else [Notify(end, reason, comes_back)]


def release(ends: Iterable[End], reason: Exit, *, comes_back: bool | None) -> list[Effect]:
    """The effects of the end of the actor at these ends."""
    return [
        DropEnd(end) if end.role is Role.WATCHER else ReportEnd(end, reason, comes_back)
        for end in ends
    ]


def _discard(index: dict[int, dict[Key, End]], place: int, key: Key) -> None:
    row = index[place]
    del row[key]
    if not row:
        del index[place]
