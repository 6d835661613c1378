"""Windows as bytes: what goes in comes out, and damaged bytes are refused."""

import contextlib
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.metrics.aggregation.packed import (
    SMALL,
    pack_rows,
    pack_windows,
    series_from,
    series_text,
    unpack_rows,
    unpack_windows,
)
from callboard.actors.metrics.rows import WINDOWS_NS, WindowRows
from callboard.messages.storage.errors import StoreDamaged
from tests.thoroughness import examples

from .window_rows import BEGIN_NS, MINUTE_NS, SERIES, Window, contents, rows_of, windows

EXAMPLE = pack_windows(
    rows_of(
        [Window(key, BEGIN_NS, (1.5, -2.0, 1e-9), place + 1) for place, key in enumerate(SERIES)]
    )
)


@settings(max_examples=examples(200))
@given(found=windows(), level=st.sampled_from((1, SMALL)))
def test_what_is_packed_comes_back(found: list[Window], level: int) -> None:
    rows = rows_of(found)
    back = unpack_windows(pack_windows(rows, level))
    assert back.width_ns == rows.width_ns
    assert sorted(contents(back), key=repr) == sorted(contents(rows), key=repr)


@pytest.mark.parametrize("width_ns", WINDOWS_NS)
def test_no_windows_are_few_bytes(width_ns: int) -> None:
    data = pack_windows(WindowRows.empty(width_ns))
    assert len(unpack_windows(data)) == 0
    assert len(data) < 120


def test_sliding_windows_begin_at_multiples_of_their_step() -> None:
    rows = rows_of([Window(SERIES[0], BEGIN_NS + n * 7_000_000_000, (1.0,)) for n in range(9)])
    assert contents(unpack_windows(pack_windows(rows))) == contents(rows)


def test_rows_are_sorted_by_series_and_start() -> None:
    found = [Window(SERIES[s], BEGIN_NS + n * MINUTE_NS, (1.0,)) for n in (3, 1, 2) for s in (2, 0)]
    rows = rows_of(found)
    back = unpack_rows(pack_rows(rows, np.array([7, 5]), BEGIN_NS), MINUTE_NS, BEGIN_NS)
    assert back.series_index.tolist() == [5, 5, 5, 7, 7, 7]
    assert ((back.starts_ns - BEGIN_NS) // MINUTE_NS).tolist() == [1, 2, 3, 1, 2, 3]


@settings(max_examples=examples(400))
@given(data=st.data())
def test_damaged_bytes_are_refused_or_read(data: st.DataObject) -> None:
    """A check-sum finds most damage; without it the bytes still never crash a reader."""
    content = bytearray(zlib.decompress(EXAMPLE[_packed_at() :]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    damaged = EXAMPLE[: _packed_at()] + zlib.compress(bytes(content[: cut or None]))
    with contextlib.suppress(StoreDamaged):
        unpack_windows(damaged)


@settings(max_examples=examples(200))
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    for packed in (data, EXAMPLE[: len(data)], EXAMPLE[:-1], EXAMPLE[:20] + data):
        with pytest.raises(StoreDamaged):
            unpack_windows(packed)


def _packed_at() -> int:
    return 20 + int.from_bytes(EXAMPLE[16:20], "little")


@pytest.mark.parametrize("key", SERIES)
def test_a_series_comes_back_from_its_text(key: object) -> None:
    assert series_from(series_text(key)) == key  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "[]", "[9,'a']", '[1,"a","b"]', "[1,2]", '{"a":1}', "[1,null]"]
)
def test_no_other_text_is_a_series(text: str) -> None:
    with pytest.raises(StoreDamaged):
        series_from(text)
