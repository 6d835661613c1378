"""The trace of a run: a hash of all events, and lines for people.

The input of the hash is the same on every machine and in every run of a seed: the process of
each step, its time, each delivery. It contains no address in memory, no order of a set and no
path of a file.
"""

import hashlib
import struct
from collections import deque
from typing import Final

__all__ = ["LINES_MAX", "Trace"]

LINES_MAX: Final = 4_000
DIGEST_BYTES: Final = 16
MOMENT: Final = struct.Struct("<d")
FLUSH_BYTES: Final = 1 << 14


class Trace:
    """The record of a run so far."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.steps: Final = bytearray()
        """The numbers of the stepped processes that are not yet in the hash."""
        self.lines: Final[deque[tuple[float, str]]] = deque(maxlen=LINES_MAX)
        """Lines for people, newest last: (world time, text)."""

    def add_time(self, now_s: float) -> None:
        """Record the advance of time."""
        steps = self.steps
        steps += MOMENT.pack(now_s)
        if len(steps) > FLUSH_BYTES:
            self._flush()

    def add(self, text: str) -> None:
        """Record an event in the hash only."""
        self.steps.extend(text.encode())

    def note(self, now_s: float, text: str) -> None:
        """Record an event in the hash and as a line for people."""
        self.steps.extend(text.encode())
        self.lines.append((now_s, text))

    def _flush(self) -> None:
        self._hash.update(self.steps)
        self.steps.clear()

    @property
    def digest(self) -> str:
        """The hash of all events so far."""
        self._flush()
        return self._hash.hexdigest()
