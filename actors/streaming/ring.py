"""The history of one channel: its last publications, and the newest value of each key. Pure."""

from collections import OrderedDict, deque
from typing import Final

from .limits import HubLimits
from .protocol import Publication

__all__ = ["Ring"]

OVERHEAD_BYTES: Final = 400
"""About what a kept publication costs besides its data."""


class Ring:
    """The publications after `start`, oldest first, as far as they fit."""

    __slots__ = ("_limits", "_values_bytes", "publications", "size_bytes", "start", "top", "values")

    def __init__(self, limits: HubLimits, start: int) -> None:
        self._limits: Final = limits
        self.publications: deque[Publication] = deque()
        self.values: OrderedDict[str, Publication] = OrderedDict()
        self.start = start
        """All publications after this offset are here."""
        self.top = start
        self.size_bytes = 0
        """The size of the publications, in bytes."""
        self._values_bytes = 0

    def add(self, publication: Publication, *, is_value: bool) -> None:
        """Keep a publication; as a value it replaces the one of its key."""
        self.top = publication.offset
        self.publications.append(publication)
        self.size_bytes += _size_of(publication)
        if is_value:
            self._replace(publication)
        limits = self._limits
        while (
            len(self.publications) > limits.ring_events_max
            or self.size_bytes > limits.ring_bytes_max
        ):
            self.evict()

    def _replace(self, publication: Publication) -> None:
        before = self.values.pop(publication.key, None)
        if before is not None:
            self._values_bytes -= _size_of(before)
        self.values[publication.key] = publication
        self._values_bytes += _size_of(publication)
        limits = self._limits
        while len(self.values) > limits.values_max or self._values_bytes > limits.ring_bytes_max:
            _, oldest = self.values.popitem(last=False)
            self._values_bytes -= _size_of(oldest)

    def evict(self) -> None:
        """Forget the oldest publication."""
        oldest = self.publications.popleft()
        self.start = oldest.offset
        self.size_bytes -= _size_of(oldest)

    def covers(self, offset: int) -> bool:
        """Whether everything after an offset is here."""
        return self.start <= offset <= self.top

    def after(self, offset: int) -> list[Publication]:
        """The publications after an offset, oldest first."""
        found: list[Publication] = []
        for publication in reversed(self.publications):
            if publication.offset <= offset:
                break
            found.append(publication)
        found.reverse()
        return found


def _size_of(publication: Publication) -> int:
    return len(publication.data) + OVERHEAD_BYTES
