"""What a crash left at the end of a write-ahead log.

SQLite finds a torn write by its checksum and goes on from the last commit before it, without a
word. Here it is counted: what stands behind the frames that SQLite has taken up, unless its salt
says that an earlier round of the log has left it. The format is part of SQLite's documentation
(https://www.sqlite.org/walformat.html).

SQLite is asked for its number. It stands in the index beside the log too, but whoever opens and
closes that file loses the locks that SQLite has on it in this process, and then the next process
that comes empties the index under the feet of all others.
"""

import struct
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["NOTHING", "Tail", "log_of", "tail_of"]

LOG_HEADER: Final = struct.Struct(">8I")
FRAME_HEADER: Final = struct.Struct(">6I")
ROUNDS_MAX: Final = 2**24
"""Rounds of a log of which something may be left. The first salt grows by one with each; what a
torn write leaves there is any number, so that one in 256 would be taken for a round."""


class Tail(NamedTuple):
    """The end of a log that was not committed."""

    frames: int
    """Pages that were written in whole."""
    bytes: int
    """All of it, a frame that was written in part included."""


NOTHING: Final = Tail(0, 0)


def log_of(path: Path) -> Path:
    """The log beside a file."""
    return path.with_name(path.name + "-wal")


def tail_of(path: Path, taken: int) -> Tail:
    """What lies behind the first `taken` frames of the log beside the file at `path`.

    Right after the first connection has been opened; a writer at work moves the end.
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
    """Whether an earlier round of the log has written a frame; zeros are no salt of any."""
    return found != 0 and 0 < (salt - found) % 2**32 < ROUNDS_MAX
