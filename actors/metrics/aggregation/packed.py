"""Windows as bytes: sorted columns, each in the narrowest type that holds it, compressed together.

Windows of one series lie next to each other. Their counts and flags are mostly equal, the keys of
their bins are near each other, and the bytes of their sums are ordered by significance: so a
general compression finds most of what repeats.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from callboard.messages.storage.errors import StoreDamaged

from ..rows import WindowRows
from ..series import MetricKind, SeriesKey
from ..sketch import SketchColumns

__all__ = [
    "pack_rows",
    "pack_windows",
    "series_from",
    "series_text",
    "unpack_rows",
    "unpack_windows",
]

Column: TypeAlias = npt.NDArray[Any]

VERSION: Final = 1
HEAD: Final = struct.Struct("<BIQQ")
"""The version, the number of rows, the number of bins, and the unit of the starts."""
PACKED_BYTES_MAX: Final = 2**30
"""The most bytes that packed rows may expand to: damaged bytes must not take all memory."""
WIDTH_HEAD: Final = struct.Struct("<qqI")
"""The width, the first start, and the bytes of the list of series."""
WIDE: Final = 7
FLOAT: Final = 8
SAME: Final = 9
"""The code of a column of whole numbers that are all equal."""
ABSENT: Final = 10
"""The code of a column of floats that are all NaN."""
TYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    WIDE: np.dtype("<i8"),
    FLOAT: np.dtype("<f8"),
}
FAST, SMALL = 1, 6
"""Levels of compression: for windows that have just closed, and for those that stay."""
STRATEGIES: Final = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)
MEMORY_LEVEL: Final = 9
ZLIB_HEAD: Final = b"\x78\x9c"
"""The head of a stream of zlib with a window of 32 KiB."""


# --- columns ----------------------------------------------------------------------------------


def _whole(values: Column, out: list[bytes]) -> None:
    """Write whole numbers."""
    least, most = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if least == most:
        out.append(struct.pack("<Bq", SAME, least))
        return
    fitting = (code for code in (1, 2, 4) if least >= 0 and most < 2 ** (8 * code))
    _shuffled(next(fitting, WIDE), values, out)


def _floats(values: Column, out: list[bytes]) -> None:
    if np.isnan(values).all():
        out.append(bytes((ABSENT,)))
    else:
        _shuffled(FLOAT, values, out)


def _shuffled(code: int, values: Column, out: list[bytes]) -> None:
    """Write first the lowest bytes of all values, then the next ones."""
    plain = np.ascontiguousarray(values, TYPES[code])
    size = plain.dtype.itemsize
    out.append(bytes((code,)))
    out.append(np.ascontiguousarray(plain.view(np.uint8).reshape(-1, size).T).tobytes())


class _Reader:
    """Reads columns from bytes. Raises `StoreDamaged`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = HEAD.size

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise _damaged("they end too early")
        self._at += count
        return taken

    def whole(self, count: int) -> npt.NDArray[np.int64]:
        """Whole numbers."""
        code = self._take(1)[0]
        if code == SAME:
            (value,) = struct.unpack("<q", self._take(8))
            return np.full(count, value, np.int64)
        if code not in TYPES or code == FLOAT:
            raise _damaged(f"a column has the type {code}")
        return self._values(code, count).astype(np.int64)

    def floats(self, count: int) -> npt.NDArray[np.float64]:
        """Floats."""
        code = self._take(1)[0]
        if code == ABSENT:
            return np.full(count, np.nan)
        if code != FLOAT:
            raise _damaged(f"a column of floats has the type {code}")
        return self._values(code, count).astype(np.float64, copy=False)

    def _values(self, code: int, count: int) -> Column:
        kind = TYPES[code]
        parts = np.frombuffer(self._take(count * kind.itemsize), np.uint8)
        values: Column = np.ascontiguousarray(parts.reshape(kind.itemsize, count).T).view(kind)
        return values.reshape(-1)

    def end(self) -> None:
        """Check that nothing follows."""
        if self._at != len(self._data):
            raise _damaged("something follows their last column")


def _damaged(why: str) -> StoreDamaged:
    return StoreDamaged(
        f"the bytes of stored windows cannot be read: {why}.",
        advice="Keep a copy of the store, and restore a backup.",
        may_have_run=False,
    )


# --- rows -------------------------------------------------------------------------------------


def pack_rows(
    rows: WindowRows, numbers: npt.NDArray[np.int64], base_ns: int, level: int = FAST
) -> bytes:
    """Pack rows without their series; `numbers` has a number for each of `rows.series`.

    `base_ns` is a time at or before all starts. The reader has to know it, and the width.
    """
    after_base = rows.starts_ns - base_ns
    # Sliding windows begin more often than once in a width.
    unit_ns = max(1, int(np.gcd.reduce(after_base))) if len(rows) else 1
    of_row = numbers[rows.series_index]
    order = np.lexsort((rows.starts_ns, of_row))
    bins = np.diff(rows.sketches.offsets)[order]
    taken = _bins_of(rows.sketches.offsets, order, bins)
    keys = rows.sketches.keys[taken].astype(np.int64)
    first = np.cumsum(bins) - bins
    full = bins > 0
    firsts = keys[first[full]]
    steps = np.diff(keys, prepend=keys[:1])
    inner = np.ones(len(keys), bool)
    inner[first[full]] = False
    out = [HEAD.pack(VERSION, len(rows), len(keys), unit_ns)]
    of_row = of_row[order]
    _whole(np.diff(of_row, prepend=of_row[:1] * 0), out)
    _whole(after_base[order] // unit_ns, out)
    for each in (rows.counts, rows.revisions, rows.flags):
        _whole(each[order].astype(np.int64), out)
    for values in (rows.sums, rows.minima, rows.maxima, rows.last):
        _floats(values[order], out)
    _whole(bins, out)
    _whole(_folded(np.diff(firsts, prepend=firsts[:1] * 0)), out)
    of_bins: list[list[bytes]] = [[], []]
    _whole(steps[inner] - 1, of_bins[0])
    _whole(rows.sketches.counts[taken] - 1, of_bins[1])
    parts = [b"".join(each) for each in (out, *of_bins)]
    return zlib.compress(b"".join(parts), level) if level == FAST else _smallest(parts, level)


def _smallest(parts: Sequence[bytes], level: int) -> bytes:
    """One stream of zlib, in which each part is compressed in the way that makes it smallest.

    The steps and counts of bins hardly ever repeat as sequences. Looking for such costs more bits
    than it saves: they are a tenth smaller with codes for single bytes only.
    """
    ends = [zlib.Z_FULL_FLUSH] * (len(parts) - 1) + [zlib.Z_FINISH]
    streams = (
        min((_deflated(part, level, strategy, end) for strategy in STRATEGIES), key=len)
        for part, end in zip(parts, ends, strict=True)
    )
    check = zlib.adler32(b"".join(parts))
    return b"".join((ZLIB_HEAD, *streams, check.to_bytes(4, "big")))


def _deflated(data: bytes, level: int, strategy: int, end: int) -> bytes:
    """Blocks of a stream, which refer to nothing before them; `Z_FULL_FLUSH` ends a whole byte."""
    encoder = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, MEMORY_LEVEL, strategy)
    return encoder.compress(data) + encoder.flush(end)


def unpack_rows(
    data: bytes, width_ns: int, base_ns: int, series: Sequence[SeriesKey] = ()
) -> WindowRows:
    """Unpack rows. `series_index` has their numbers. Raises `StoreDamaged`."""
    content = _expanded(data)
    if len(content) < HEAD.size:
        raise _damaged("they are too short")
    version, count, bin_count, unit_ns = HEAD.unpack_from(content)
    if version != VERSION:
        raise _damaged(f"their version is {version}, and this release knows {VERSION}")
    if count + bin_count > PACKED_BYTES_MAX // 16:
        raise _damaged(f"they claim {count:,} rows and {bin_count:,} bins")
    if unit_ns >= 2**63:
        raise _damaged("the unit of their starts is too large")
    reader = _Reader(content)
    numbers = np.cumsum(reader.whole(count))
    starts = base_ns + reader.whole(count) * np.int64(unit_ns)
    counts, revisions, flags = (reader.whole(count) for _ in range(3))
    sums, minima, maxima, last = (reader.floats(count) for _ in range(4))
    bins = reader.whole(count)
    if bins.min(initial=0) < 0 or int(bins.sum()) != bin_count:
        raise _damaged("the numbers of their bins do not fit")
    full = bins > 0
    firsts = np.cumsum(_unfolded(reader.whole(int(full.sum()))))
    offsets = np.concatenate(([0], np.cumsum(bins)))
    steps = np.zeros(bin_count, np.int64)
    inner = np.ones(bin_count, bool)
    inner[offsets[:-1][full]] = False
    steps[inner] = reader.whole(bin_count - int(full.sum())) + 1
    bin_counts = reader.whole(bin_count) + 1
    reader.end()
    risen = np.cumsum(steps)
    keys = risen + np.repeat(firsts - risen[offsets[:-1][full]], bins[full])
    sketches = SketchColumns(offsets, keys.astype(np.int32), bin_counts)
    return WindowRows(
        width_ns,
        tuple(series),
        numbers.astype(np.int32),
        starts,
        counts,
        sums,
        minima,
        maxima,
        last,
        revisions.astype(np.int32),
        flags.astype(np.uint8),
        sketches,
    )


def _expanded(data: bytes) -> bytes:
    expander = zlib.decompressobj()
    try:
        content = expander.decompress(data, PACKED_BYTES_MAX)
    except zlib.error as error:
        raise _damaged(str(error)) from error
    if not expander.eof:
        raise _damaged("they are cut off, or too large")
    return content


def _bins_of(
    offsets: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], bins: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The places of the bins of these rows, in their order."""
    total = int(bins.sum())
    ends = np.cumsum(bins)
    places: npt.NDArray[np.int64] = np.repeat(offsets[:-1][rows] - (ends - bins), bins)
    return places + np.arange(total)


def _folded(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Whole numbers as natural ones: small ones stay small."""
    return np.where(values < 0, -2 * values - 1, 2 * values)


def _unfolded(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.where(values & 1, -(values + 1) // 2, values // 2)


# --- with their series ------------------------------------------------------------------------


def series_text(key: SeriesKey) -> str:
    """A series as a text, the same for equal series."""
    return json.dumps([int(key.kind), key.name, *(part for tag in key.tags for part in tag)])


def series_from(text: str | bytes) -> SeriesKey:
    """The series of a text. Raises `StoreDamaged`."""
    try:
        return _series_of(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(f"a series is {text[:80]!r}") from error


def _series_of(parts: Any) -> SeriesKey:
    kind, name, *rest = parts
    if len(rest) % 2 or not all(isinstance(part, str) for part in (name, *rest)):
        raise ValueError(parts)
    return SeriesKey(MetricKind(kind), name, tuple(zip(rest[::2], rest[1::2], strict=True)))


def pack_windows(rows: WindowRows, level: int = FAST) -> bytes:
    """Pack rows with their series and their width."""
    base_ns = int(rows.starts_ns.min()) if len(rows) else 0
    names = zlib.compress(f"[{','.join(map(series_text, rows.series))}]".encode(), level)
    numbers = np.arange(len(rows.series), dtype=np.int64)
    head = WIDTH_HEAD.pack(rows.width_ns, base_ns, len(names))
    return head + names + pack_rows(rows, numbers, base_ns, level)


def unpack_windows(data: bytes) -> WindowRows:
    """Unpack what `pack_windows` has packed. Raises `StoreDamaged`."""
    if len(data) < WIDTH_HEAD.size:
        raise _damaged("they are too short")
    width_ns, base_ns, names_bytes = WIDTH_HEAD.unpack_from(data)
    end = WIDTH_HEAD.size + names_bytes
    try:
        named = json.loads(_expanded(data[WIDTH_HEAD.size : end]))
        series = tuple(map(_series_of, named))
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged("the list of their series is wrong") from error
    rows = unpack_rows(data[end:], width_ns, base_ns, series)
    index = rows.series_index
    if index.min(initial=0) < 0 or index.max(initial=-1) >= len(series):
        raise _damaged("a row belongs to no series")
    return rows
