"""What a crash left at the end of a write-ahead log.

SQLite finds a torn write by its checksum and goes on from the last commit before it, without a
word. Here it is counted: the frames that belong to the current log by their salt, against how many
SQLite has taken up. The format is part of SQLite's documentation
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
            head = file.read(LOG_HEADER.size)
            if len(head) < LOG_HEADER.size:
                return NOTHING
            page_bytes, salts = LOG_HEADER.unpack(head)[2], LOG_HEADER.unpack(head)[4:6]
            size = log.stat().st_size
            frame_bytes = FRAME_HEADER.size + page_bytes
            frames = extra = 0
            at = LOG_HEADER.size + taken * frame_bytes
            while at < size:
                file.seek(at)
                found = file.read(FRAME_HEADER.size)
                # What an earlier round of the log has left has other salts.
                if len(found) == FRAME_HEADER.size and FRAME_HEADER.unpack(found)[2:4] != salts:
                    break
                whole = at + frame_bytes <= size
                frames += whole
                extra += frame_bytes if whole else size - at
                at += frame_bytes
            return Tail(frames, extra)
    except (OSError, struct.error):
        return NOTHING
