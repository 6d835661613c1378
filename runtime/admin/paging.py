"""Pages of sorted lists, by the place of their last item: stable while items come and go."""

import heapq
from collections.abc import Callable, Iterable
from typing import TypeVar

from .views import Key, Place

__all__ = ["page_of"]

ItemT = TypeVar("ItemT")


def page_of(
    items: Iterable[ItemT],
    place: Callable[[ItemT], Place],
    *,
    after: Place | None,
    limit: int,
    is_ascending: bool,
) -> tuple[list[ItemT], Place | None]:
    """The items after a place, and the place of the next page; None for the last page.

    `place` gives each item's key and its id, by which items of equal keys are sorted.
    """

    def order(item: ItemT) -> tuple[bool, Key, str]:
        return _order(place(item))

    if after is not None:
        begin = _order(after)
        if is_ascending:
            items = (item for item in items if order(item) > begin)
        else:
            items = (item for item in items if order(item) < begin)
    some = heapq.nsmallest if is_ascending else heapq.nlargest
    found = some(limit + 1, items, key=order)
    if len(found) <= limit:
        return found, None
    return found[:limit], place(found[limit - 1])


def _order(place: Place) -> tuple[bool, Key, str]:
    """Numbers come before texts: a place of another list must not fail."""
    key, name = place
    return isinstance(key, str), key, name
