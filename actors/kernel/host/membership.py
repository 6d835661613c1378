"""The membership: the slots of the system, as the root reports them to this host.

A slot may be stopped: its host has ended, and only its group may start it again. Messages to
it are refused until then. A number below the newest one that is not in the report is never
used again, so a host need not remember the ended slots one by one.
"""

from collections.abc import Callable, Mapping

from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.core.errors import HostLost

from ..link.link import Link

__all__ = ["Membership"]


class Membership:
    """The slots of one system, as one of its hosts knows them."""

    __slots__ = ("_links", "_make_link", "_newest_slot", "_places", "_slot")

    def __init__(self, slot: int, links: dict[int, Link], make_link: Callable[[int], Link]) -> None:
        self._slot = slot
        self._links = links
        self._make_link = make_link
        self._places: Mapping[int, int] = {}
        self._newest_slot = 0

    def make_link(self, slot: int) -> Link:
        """A link to a slot; the host keeps it unless the slot has ended for good."""
        link = self._make_link(slot)
        final_epoch = self._final_epoch(slot)
        if final_epoch != 0:
            link.close(_has_ended(slot))
        if final_epoch is not None:
            self._links[slot] = link
        return link

    def update(self, places: Mapping[int, int], newest_slot: int) -> None:
        """Take over a report of the root."""
        self._places = places
        self._newest_slot = newest_slot
        links = self._links
        for slot, link in list(links.items()):
            final_epoch = self._final_epoch(slot)
            if final_epoch is None or link.epoch <= final_epoch != 0:
                if not link.is_closed:
                    link.close(_has_ended(slot))
                if final_epoch is None:
                    del links[slot]

    def _final_epoch(self, slot: int) -> int | None:
        """0 for a slot that has or will have a host; None when it has ended for good."""
        if slot in (CONTROL_SLOT, self._slot) or slot > self._newest_slot:
            return 0  # A slot that is not reported yet may start.
        return self._places.get(slot)


def _has_ended(slot: int) -> HostLost:
    return HostLost(
        f"host {slot} has ended and is not restarted by itself.",
        advice="Its actors have ended with it: spawn them again.",
        may_have_run=False,
        slot=slot,
    )
