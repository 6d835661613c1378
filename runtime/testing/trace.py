"""The trace of a run: a hash of all that happened, and the story that people read.

The hash is fed with text that is the same on every machine and in every run of a seed:
which process took a step, when, what was delivered. No address in memory, no order of a
set, no path of a file gets into it.
"""

import hashlib
import struct
from collections import deque
from typing import Final

__all__ = ["STORY_LINES_MAX", "Trace"]

STORY_LINES_MAX: Final = 4_000
DIGEST_BYTES: Final = 16
MOMENT: Final = struct.Struct("<d")
FLUSH_BYTES: Final = 1 << 14


class Trace:
    """What has happened so far."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.steps: Final = bytearray()
        """The numbers of the processes that took steps, not yet in the hash."""
        self.story: Final[deque[tuple[float, str]]] = deque(maxlen=STORY_LINES_MAX)
        """What people want to know of a run, newest last: (world time, what)."""

    def moved(self, now_s: float) -> None:
        """Time has gone on."""
        steps = self.steps
        steps += MOMENT.pack(now_s)
        if len(steps) > FLUSH_BYTES:
            self._flush()

    def add(self, text: str) -> None:
        """Something that belongs to the hash and is nothing for people."""
        self.steps.extend(text.encode())

    def tell(self, now_s: float, text: str) -> None:
        """Something that belongs to both."""
        self.steps.extend(text.encode())
        self.story.append((now_s, text))

    def _flush(self) -> None:
        self._hash.update(self.steps)
        self.steps.clear()

    @property
    def digest(self) -> str:
        """The hash of all that happened so far."""
        self._flush()
        return self._hash.hexdigest()
