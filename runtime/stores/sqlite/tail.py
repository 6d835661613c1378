"""The remains of a crash at the end of a write-ahead log.

SQLite finds a torn write by its checksum and silently continues from the last commit before it.
This module counts the bytes after the frames that SQLite has accepted, except those whose salt
shows that they are from an earlier round of the log. The format is part of SQLite's documentation
(https://www.sqlite.org/walformat.html).

The number of frames comes from a query to SQLite. The index file next to the log has it too, but a
process that opens and closes that file loses the locks that SQLite has on it there. The next
process would then empty the index while others use it.
"""

import struct
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["NOTHING", "Tail", "log_of", "tail_of"]

LOG_HEADER: Final = struct.Struct(">8I")
FRAME_HEADER: Final = struct.Struct(">6I")
ROUNDS_MAX: Final = 2**24
"""Earlier rounds of a log that may have left frames. The first salt grows by one with each round. A
torn write leaves any number there, and one in 256 would look like a round."""


class Tail(NamedTuple):
    """The end of a log that was not committed."""

    frames: int
    """Complete frames."""
    bytes: int
    """All bytes, with an incomplete frame."""


NOTHING: Final = Tail(0, 0)


def log_of(path: Path) -> Path:
    """The log of a file."""
    return path.with_name(path.name + "-wal")


def tail_of(path: Path, taken: int) -> Tail:
    """The part after the first `taken` frames of the log of the file at `path`.

    Call it right after opening the first connection: a writer at work moves the end.
    """
    log = log_of(path)
    try:
        with log.open("rb") as file:
            size = log.stat().st_size
            head = file.read(LOG_HEADER.size)
            if len(head) < LOG_HEADER.size:
                return Tail(0, size)
            _, _, page_bytes, _, salt, *_ = LOG_HEADER.unpack(head)
            frame_bytes = FRAME_HEADER.size + page_bytes
            frames = extra = 0
            at = LOG_HEADER.size + taken * frame_bytes
            while at < size:
                file.seek(at)
                found = file.read(FRAME_HEADER.size)
                is_whole = len(found) == FRAME_HEADER.size
                if is_whole and _is_left(FRAME_HEADER.unpack(found)[2], salt):
                    break
                whole = at + frame_bytes <= size
                frames += whole
                extra += frame_bytes if whole else size - at
                at += frame_bytes
            return Tail(frames, extra)
    except (OSError, struct.error):
        return NOTHING


def _is_left(found: int, salt: int) -> bool:
    """Whether a frame is from an earlier round of the log. No round has a salt of zero."""
    return found != 0 and 0 < (salt - found) % 2**32 < ROUNDS_MAX
