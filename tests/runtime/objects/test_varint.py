"""Numbers of variable length, all of a column at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.messages.storage.errors import StoreDamaged
from callboard.runtime.objects.varint import decode_numbers, encode_numbers, folded, unfolded

ROWS = st.lists(st.lists(st.integers(0, 2**63 - 1), max_size=5), max_size=6)


@given(rows=ROWS)
def test_what_is_encoded_is_decoded(rows: list[list[int]]) -> None:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    values = np.array([each for row in rows for each in row], np.int64)
    encoded = encode_numbers(values, offsets)
    assert len(encoded) == len(rows)
    assert decode_numbers(encoded, len(values)).tolist() == values.tolist()
    for row, data in zip(rows, encoded, strict=True):
        assert decode_numbers(np.array([data, b""], object), len(row)).tolist() == row


@given(value=st.integers(-(2**62), 2**62 - 1))
def test_folded_numbers_are_natural(value: int) -> None:
    one = np.array([value], np.int64)
    assert folded(one)[0] >= 0
    assert unfolded(folded(one)).tolist() == [value]


@given(rows=st.lists(st.binary(max_size=12), max_size=3), count=st.integers(0, 12))
def test_any_bytes_are_numbers_or_damage(rows: list[bytes], count: int) -> None:
    column = np.empty(len(rows), object)
    column[:] = rows
    try:
        assert len(decode_numbers(column, count)) == count
    except StoreDamaged:
        with pytest.raises(StoreDamaged):
            decode_numbers(column, count)
