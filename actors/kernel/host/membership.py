"""The membership: the slots of the system, as the root reports them to this host.

A slot may be stopped: its host has ended, and only its group may start it again. Messages to
it are refused until then. A number below the newest one that is not in the report is never
used again, so a host need not remember the ended slots one by one.

The slots of drivers are in no report: a driver is known by its link, from its first connection
until it has left. A link to a driver that does not come within `UNKNOWN_DRIVER_S` is given up.

The root introduces every host to every other one, and most pairs never exchange a message. So an
introduction is only noted here, and the link is made at the first message in either direction.
The link to a driver is made at once: the driver waits for its frames.

Invariants: a slot is known or has a link, never both; nothing waits for a slot without a link. A
driver that has left costs its number, and that only until `DEPARTED_MAX` others have.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from callboard.messages.control.control_plane import CONTROL_SLOT, is_driver_slot
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.ports import FrameCarrier

from ..link.link import Link

__all__ = ["DEPARTED_MAX", "UNKNOWN_DRIVER_S", "MakeCarrier", "Membership"]

DEPARTED_MAX: Final = 1_024
"""Numbers of left drivers that a host remembers, so that no message waits for them."""
UNKNOWN_DRIVER_S: Final = 60.0
"""How long messages wait for a driver that this host has never heard of: a reference may arrive
before its driver does, or long after it has left."""

CallLater = Callable[[float, Callable[[], None]], Any]
MakeCarrier = Callable[[], FrameCarrier]


class _Introduction(NamedTuple):
    """A process that this host may link to, and has not yet."""

    epoch: int
    make_carrier: MakeCarrier
    is_open: bool


class Membership:
    """The slots of one system, as one of its hosts knows them."""

    __slots__ = (
        "_call_later",
        "_dead",
        "_departed",
        "_introduced",
        "_links",
        "_make_link",
        "_newest_slot",
        "_places",
        "_slot",
    )

    def __init__(
        self,
        slot: int,
        links: dict[int, Link],
        make_link: Callable[[int], Link],
        call_later: CallLater,
    ) -> None:
        self._slot = slot
        self._links = links
        self._make_link = make_link
        self._call_later = call_later
        self._departed: dict[int, None] = {}
        """Drivers that have left, the newest at the end."""
        self._introduced: dict[int, _Introduction] = {}
        """The processes at slots without a link."""
        self._dead: dict[int, int] = {}
        """The newest dead incarnation of a slot without a link: an introduction may come late."""
        self._places: dict[int, int] = {}
        self._newest_slot = 0

    def make_link(self, slot: int) -> Link:
        """A link to a slot; the host keeps it unless the slot has ended for good."""
        link = self._make_link(slot)
        final_epoch = self._final_epoch(slot)
        found = self._introduced.pop(slot, None)
        link.dead_epoch = self._dead.pop(slot, 0)
        if (
            final_epoch is None
            or (found is None and final_epoch)
            or (found is not None and found.epoch <= final_epoch)
        ):
            link.close(_has_ended(slot))
            found = None
        if final_epoch is not None:
            self._links[slot] = link
            if is_driver_slot(slot):
                self._call_later(UNKNOWN_DRIVER_S, lambda: self._give_up(slot, link))
        if found is not None:
            link.begin(found.epoch, found.make_carrier(), is_open=found.is_open)
        return link

    def introduce(self, slot: int, epoch: int, make_carrier: MakeCarrier, *, is_open: bool) -> None:
        """This process is at a slot now: link to it, at once where a link to the slot exists."""
        link = self._links.get(slot)
        if link is None and is_driver_slot(slot):
            link = self.make_link(slot)
        if link is not None:
            link.connect(epoch, make_carrier(), is_open=is_open)
            return
        before = self._introduced.get(slot)
        if before is not None and epoch <= before.epoch:
            if epoch == before.epoch and is_open and not before.is_open:
                self._introduced[slot] = before._replace(is_open=True)
        elif epoch > self._dead.get(slot, 0) and self._final_epoch(slot) is not None:
            self._introduced[slot] = _Introduction(epoch, make_carrier, is_open)

    def link_to_sender(self, slot: int, epoch: int) -> Link | None:
        """The link for the first frame of a process; None unless it was introduced."""
        found = self._introduced.get(slot)
        return None if found is None or found.epoch != epoch else self.make_link(slot)

    def declare_dead(self, slot: int, epoch: int, error: CallboardError) -> None:
        """The root declares this incarnation of a slot, and all before it, dead."""
        link = self._links.get(slot)
        if link is not None:
            link.declare_dead(epoch, error)
            return
        self._dead[slot] = max(epoch, self._dead.get(slot, 0))
        found = self._introduced.get(slot)
        if found is not None and found.epoch <= epoch:
            del self._introduced[slot]

    def reached(self) -> list[int]:
        """The slots that this host is connected to, or will be at the first message."""
        linked = (slot for slot, link in self._links.items() if link.is_connected)
        return [*linked, *self._introduced]

    def epoch_of(self, slot: int) -> tuple[int, bool] | None:
        """The introduced incarnation of a slot without a link, and whether it is open."""
        found = self._introduced.get(slot)
        return None if found is None else (found.epoch, found.is_open)

    def _give_up(self, slot: int, link: Link) -> None:
        if not link.epoch and self._links.get(slot) is link:
            del self._links[slot]
            link.close(_has_ended(slot))

    def forget(self, slot: int, error: HostLost) -> None:
        """A driver has left and never comes back: refuse all messages to it."""
        self._departed[slot] = None
        if len(self._departed) > DEPARTED_MAX:
            del self._departed[next(iter(self._departed))]
        link = self._links.pop(slot, None)
        if link is not None:
            link.close(error)

    def has_departed(self, slot: int) -> bool:
        """Whether the driver at this slot has left: news of it come too late."""
        return slot in self._departed

    def has_ended(self, slot: int) -> bool:
        """Whether the slot has ended for good, and its number is never used again."""
        return self._final_epoch(slot) is None

    def update(self, places: Mapping[int, int], newest_slot: int) -> None:
        """Take over a whole report of the root."""
        self._places = dict(places)
        self._newest_slot = newest_slot
        self._settle({**self._links, **self._introduced, **self._dead})

    def patch(self, places: Mapping[int, int], gone: Iterable[int], newest_slot: int) -> None:
        """Take over the changes since the last report."""
        known = self._newest_slot
        self._places.update(places)
        for slot in gone:
            self._places.pop(slot, None)
        self._newest_slot = newest_slot
        changed = dict.fromkeys((*places, *gone))
        if newest_slot > known:  # What was not reported may have ended before it was.
            everywhere = (*self._links, *self._introduced, *self._dead)
            changed |= dict.fromkeys(slot for slot in everywhere if slot > known)
        self._settle(changed)

    def _settle(self, slots: Iterable[int]) -> None:
        """Close the links to slots that have ended, and forget what is gone for good."""
        for slot in slots:
            final_epoch = self._final_epoch(slot)
            if final_epoch == 0:
                continue
            link = self._links.get(slot)
            if link is not None and (final_epoch is None or link.epoch <= final_epoch):
                if not link.is_closed:
                    link.close(_has_ended(slot))
                if final_epoch is None:
                    del self._links[slot]
            found = self._introduced.get(slot)
            if found is not None and (final_epoch is None or found.epoch <= final_epoch):
                del self._introduced[slot]
            if final_epoch is None:
                self._dead.pop(slot, None)

    def _final_epoch(self, slot: int) -> int | None:
        """0 for a slot that has or will have a host; None when it has ended for good."""
        if slot in self._departed:
            return None
        if slot in (CONTROL_SLOT, self._slot) or slot > self._newest_slot:
            return 0  # A slot that is not reported yet may start.
        return self._places.get(slot)


def _has_ended(slot: int) -> HostLost:
    if is_driver_slot(slot):
        return HostLost(
            "the driver has left.",
            advice="Its actors have ended with it: get a reference from the driver of now.",
            may_have_run=False,
            slot=slot,
        )
    return HostLost(
        f"host {slot} has ended and is not restarted by itself.",
        advice="Its actors have ended with it: spawn them again.",
        may_have_run=False,
        slot=slot,
    )
