"""Compares an object store with the catalogue, and removes what nobody refers to, at two looks.

The shell of `core.review`. It blocks. It runs in turn with the mover of the same owner.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from .catalogue import Catalogue
from .core import MoveLimits, review
from .objects import ObjectInfo, ObjectMissing, ObjectStore
from .segments import SegmentState, digest_of

__all__ = ["Scrubbed", "scrub"]

LOGGER: Final = logging.getLogger("callboard.storage")
PAGE: Final = 100_000


class Scrubbed(NamedTuple):
    """What a scrub of one location has done."""

    removed: int
    """Files that nothing referred to, at two looks."""
    suspects: int
    """Files that nothing refers to, at the first look."""
    corrupt: int
    """Segments whose file is missing or changed: restore them from a backup."""
    recovered: int
    """Segments whose file is there again."""
    foreign: int
    """Files that this catalogue has not written."""


def scrub(
    catalogue: Catalogue,
    location: str,
    store: ObjectStore,
    *,
    fence: int = 0,
    limits: MoveLimits | None = None,
    wall_time: Callable[[], float] = time.time,
) -> Scrubbed:
    """Scrub one location. Raises the stores' errors, and `WriterFenced`."""
    limits = limits or MoveLimits()
    # First what is referred to, then what is there: what comes in between is no orphan, for its
    # move is open, and what goes in between has been retired by this process itself.
    catalogue.claim(fence)
    open_moves = catalogue.open_moves()
    last_move = catalogue.last_move()
    segments = [each for each in catalogue.all_segments() if each.location == location]
    found = review(
        all_objects(store, f"{catalogue.owner}/"),
        segments,
        open_moves,
        last_move,
        catalogue.suspects(location),
        wall_time(),
        limits,
    )
    for segment in found.missing:
        there = store.head(segment.name)
        if there is None or there.size_bytes != segment.size_bytes:
            LOGGER.error(
                "%s: the file of the segment %s is missing or has another size. Restore it.",
                store.name, segment.name,
            )  # fmt: skip
            catalogue.mark(fence, segment.name, SegmentState.CORRUPT)
    recovered = 0
    for segment in found.found:
        if _content_digest(store, segment.name) == segment.digest:
            catalogue.mark(fence, segment.name, SegmentState.LIVE)
            recovered += 1
    # The record first: this token is still the newest, and so nobody else has begun a move that
    # this process does not know of. A name of an ended move never comes into use again.
    orphans = set(found.orphans)
    suspects = {name: since for name, since in found.suspects.items() if name not in orphans}
    catalogue.suspect(fence, location, suspects)
    if orphans:
        LOGGER.warning("%s: %d files that nothing refers to are removed", store.name, len(orphans))
        store.delete(sorted(orphans))
    corrupt = sum(
        each.location == location and each.state is SegmentState.CORRUPT
        for each in catalogue.all_segments()
    )
    return Scrubbed(len(orphans), len(suspects), corrupt, recovered, found.foreign)


def all_objects(store: ObjectStore, prefix: str) -> Iterator[ObjectInfo]:
    """All objects with the prefix, read in pages."""
    after = ""
    while True:
        page = store.objects(prefix, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].name


def _content_digest(store: ObjectStore, name: str) -> str:
    try:
        return digest_of(store.get(name))
    except ObjectMissing:
        return ""
