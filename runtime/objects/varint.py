"""Whole numbers of variable length: seven bits in each byte, the last byte of a number below 128.

All numbers of a column are written and read at once, with numpy.
"""

import itertools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from callboard.messages.storage.errors import StoreDamaged

__all__ = ["decode_numbers", "encode_numbers", "folded", "unfolded"]

Ints = npt.NDArray[np.int64]
BYTES_MAX: Final = 9
"""Numbers up to 2**63 - 1."""


def folded(values: Ints) -> Ints:
    """Whole numbers as natural ones: small ones stay small."""
    return (values << 1) ^ (values >> 63)


def unfolded(values: Ints) -> Ints:
    """The numbers that were folded."""
    return (values >> 1) ^ -(values & 1)


def encode_numbers(values: Ints, offsets: Ints) -> npt.NDArray[np.object_]:
    """For each row the bytes of its numbers: those from `offsets[i]` to `offsets[i + 1]`."""
    lengths = np.ones(len(values), np.int64)
    for size in range(1, BYTES_MAX):
        lengths += values >= (1 << (7 * size))
    ends = np.cumsum(lengths)
    begins = ends - lengths
    data = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    for byte in range(int(lengths.max(initial=0))):
        chosen = np.flatnonzero(lengths > byte)
        part = (values[chosen] >> (7 * byte)) & 0x7F
        more = np.where(lengths[chosen] > byte + 1, 0x80, 0)
        data[begins[chosen] + byte] = part | more
    cuts = np.concatenate(([0], ends))[offsets].tolist()
    content = data.tobytes()
    rows = np.empty(len(offsets) - 1, object)
    rows[:] = [content[begin:end] for begin, end in itertools.pairwise(cuts)]
    return rows


def decode_numbers(rows: Any, count: int) -> Ints:
    """The numbers of all rows. Raises `StoreDamaged` when they are not `count`."""
    data = np.frombuffer(b"".join(rows.tolist()), np.uint8)
    last = np.flatnonzero(data < 0x80)
    if len(last) != count or (count and last[-1] != len(data) - 1) or (not count and len(data)):
        raise _damaged(f"it has {len(last)} bins of {count}")
    begins = np.concatenate(([0], last[:-1] + 1)) if count else last
    lengths = last - begins + 1
    if lengths.max(initial=0) > BYTES_MAX:
        raise _damaged("a number is too long")
    values = np.zeros(count, np.int64)
    for byte in range(int(lengths.max(initial=0))):
        chosen = np.flatnonzero(lengths > byte)
        part = (data[begins[chosen] + byte] & 0x7F).astype(np.int64)
        values[chosen] |= part << (7 * byte)
    return values


def _damaged(why: str) -> StoreDamaged:
    return StoreDamaged(
        f"the sketches of a segment cannot be read: {why}.",
        advice="Restore its file from a backup.",
        may_have_run=False,
    )
