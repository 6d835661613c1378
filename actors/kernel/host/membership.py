"""Which slots there are, as the root has told this host: nothing waits for one that is gone.

A slot that rests (its host ended, and only its group may start it again) refuses what is
sent to it until then. A number below the newest that has no place is never used again, so
what is gone need not be remembered one by one.
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
        """A link to a slot; kept by the host unless the slot is gone for good."""
        link = self._make_link(slot)
        final_epoch = self._final_epoch(slot)
        if final_epoch != 0:
            link.close(_has_ended(slot))
        if final_epoch is not None:
            self._links[slot] = link
        return link

    def update(self, places: Mapping[int, int], newest_slot: int) -> None:
        """The root has told anew which slots there are."""
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
        """0 for a slot that has a host, or will have one; None when it is gone for good."""
        if slot in (CONTROL_SLOT, self._slot) or slot > self._newest_slot:
            return 0  # What is not known yet may come.
        return self._places.get(slot)


def _has_ended(slot: int) -> HostLost:
    return HostLost(
        f"host {slot} has ended and does not come back by itself.",
        advice="Its actors have ended with it: spawn them again.",
        may_have_run=False,
        slot=slot,
    )
