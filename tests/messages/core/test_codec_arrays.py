"""Arrays in messages: exact in type and shape, read-only, and not copied on arrival."""

from typing import Any, Final

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from callboard.messages.core.codec import Array
from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import InvalidMessage, PayloadTooLarge
from callboard.messages.core.limits import Limits
from tests.messages.core.transfer import Free, Way
from tests.thoroughness import examples

Anything = np.ndarray[Any, np.dtype[Any]]
ALIGNED: Final = np.dtype([("a", "i1"), ("b", "<i8")], align=True)
INNER: Final = np.dtype([("x", "<f4"), ("y", "<f4")])
DTYPES: Final = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
    npst.complex_number_dtypes(endianness="?"),
    npst.datetime64_dtypes(endianness="?"),
    npst.timedelta64_dtypes(endianness="?"),
    npst.byte_string_dtypes(min_len=1),
    npst.unicode_string_dtypes(min_len=1),
    st.sampled_from(
        [
            np.dtype([("a", "<f4", (2, 3)), ("b", ">i2")]),
            np.dtype([("inner", INNER, (2,)), ("z", "S3")]),
            np.dtype([(("a title", "a"), "<i4")]),
            np.dtype("V7"),
            ALIGNED,
        ]
    ),
)


class Frames(Contract, name="tests.codec.frames"):
    first: Array
    others: tuple[Array, ...] = ()


def back(array: Anything) -> Anything:
    return Way().back(Frames(first=array)).first


def same(left: Anything, right: Anything) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes("C") == right.tobytes("C")
    )


@settings(max_examples=examples(500))
@given(data=st.data())
def test_array_of_any_type_and_shape_comes_back_bit_for_bit(data: st.DataObject) -> None:
    dtype = data.draw(DTYPES)
    shape = data.draw(npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = int(np.prod(shape)) * dtype.itemsize
    array = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)) or b"", dtype)
    assert same(back(array.reshape(shape)), array.reshape(shape))


@pytest.mark.parametrize(
    "array",
    [
        np.array(5.0),
        np.zeros((0, 3)),
        np.zeros((3, 0, 2), ">i2"),
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(20)[::-2],
        np.broadcast_to(np.arange(3), (4, 3)),
        np.zeros(3, ALIGNED)["b"],
        np.array(["2024-02-29", "NaT"], "datetime64[s]"),
        np.array(["", "ä", "€uro"]),
    ],
    ids=repr,
)
def test_array_of_any_layout_comes_back(array: Anything) -> None:
    assert same(back(array), array)


def test_matrix_and_record_array_arrive_as_plain_arrays() -> None:
    matrix = np.arange(4).reshape(2, 2).view(np.matrix)
    arrived = back(matrix)
    assert type(arrived) is np.ndarray
    assert same(arrived, np.asarray(matrix))
    assert same(back(np.zeros(2, ALIGNED).view(np.recarray)), np.zeros(2, ALIGNED))


def test_array_is_sent_and_received_without_a_copy_and_arrives_read_only() -> None:
    array = np.arange(1000, dtype=np.float64)
    way = Way()
    body, (buffer,) = way.codec.encode(Frames(first=array))
    assert np.shares_memory(np.frombuffer(buffer, np.uint8), array)
    assert len(body) < 200

    received = bytearray(bytes(buffer))
    decoded = way.decode(body, Frames, (memoryview(received),))
    assert isinstance(decoded, Frames)
    assert np.shares_memory(decoded.first, np.frombuffer(received, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        decoded.first[0] = 1


def test_many_arrays_keep_their_order() -> None:
    arrays = tuple(np.full(3, number) for number in range(20))
    decoded = Way().back(Frames(first=arrays[0], others=arrays))
    assert [int(array[0]) for array in decoded.others] == list(range(20))


def test_array_inside_a_nested_contract_comes_back() -> None:
    inner = Frames(first=np.arange(3), others=(np.arange(4),))
    decoded = Way().value([inner, np.arange(2)])
    assert same(decoded[0].others[0], np.arange(4))
    assert same(decoded[1], np.arange(2))


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.zeros(1, [("a", object)]),
        np.ma.array([1, 2], mask=[False, True]),
        np.zeros(3, "V0"),
    ],
    ids=["objects", "a field of objects", "masked", "no bytes"],
)
def test_array_that_cannot_travel_is_an_invalid_message(array: Anything) -> None:
    way = Way()
    with pytest.raises(InvalidMessage, match=r"tests\.codec\.frames cannot be encoded"):
        way.codec.encode(Frames(first=np.zeros(2), others=(array,)))
    body, buffers = way.codec.encode(Frames(first=np.zeros(2)))
    assert len(buffers) == 1, "what the refused message left behind is gone"
    assert isinstance(way.decode(body, Frames, buffers), Frames)


def test_more_arrays_than_the_limit_are_payload_too_large() -> None:
    way = Way(Limits(buffers_max=3))
    way.back(Frames(first=np.zeros(1), others=(np.zeros(1),) * 2))
    with pytest.raises(PayloadTooLarge, match=r"tests\.codec\.frames.*more than 3 arrays"):
        way.back(Frames(first=np.zeros(1), others=(np.zeros(1),) * 3))


def described(index: Any, dtype: Any, shape: Any) -> bytes:
    inner = msgpack.packb((index, dtype, shape))
    return bytes(msgpack.packb({"x": msgpack.ExtType(9, inner)}))


@pytest.mark.parametrize(
    ("index", "dtype", "shape"),
    [
        (0, "|O", [1]),
        (0, [["a", "|O"]], [1]),
        (0, "<f8", [2]),
        (0, "<f8", [-1]),
        (0, "<f8", [-1, -1]),
        (0, "<f8", [2**62, 4]),
        (0, "<f8", [1.0]),
        (0, "<f8", 1),
        (0, "|V0", [10**12]),
        (0, "<f9", [1]),
        (0, None, [1]),
        (0, [], [1]),
        (0, [["a"]], [1]),
        (0, [[["a", "b", "c"], "<f8"]], [1]),
        (0, [["a", "<f8", [2**40]]], [1]),
        (0, {"names": ["a"]}, [1]),
        (1, "<f8", [1]),
        (-1, "<f8", [1]),
        ("0", "<f8", [1]),
        (0, "<f8", [1] * 100),
    ],
)
def test_description_that_does_not_fit_its_buffer_is_an_invalid_message(
    index: Any, dtype: Any, shape: Any
) -> None:
    with pytest.raises(InvalidMessage):
        Way().decode(described(index, dtype, shape), buffers=(bytes(8),))


def test_description_that_fits_is_taken() -> None:
    decoded = Way().decode(described(0, "<f8", [1]), buffers=(bytes(8),))
    assert isinstance(decoded, Free)
    assert decoded.x.tolist() == [0.0]
