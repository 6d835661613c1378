"""Frames: envelopes survive the way to the peer, and other bytes raise `FrameError`."""

import tracemalloc
import zlib
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.core.contract import ContractKey
from callboard.messages.core.errors import FrameError
from callboard.messages.core.frame import (
    MAGIC,
    PREFIX,
    Envelope,
    Frame,
    FrameHeader,
    FrameWriter,
    Kind,
    decode_frame,
)
from callboard.messages.core.limits import Limits
from callboard.messages.core.trace_context import TRACE_BYTES
from tests.thoroughness import examples

HEADER: Final = FrameHeader(1, 2, 3, 4, sequence=5, received=6, granted=7)
KEY: Final = ContractKey("a.contract", 1, 2**56 - 1)
NUMBERS: Final = st.integers(0, 2**63)


def small() -> bytes:
    writer = FrameWriter()
    number = writer.contract(KEY)
    writer.add(Kind.TELL, 7, 0, number, b"\x81\xa1x\x01")
    writer.add(Kind.ASK, 8, 9, number, b"\x80", 1500, (b"buffer", memoryview(b"view")))
    writer.add(Kind.REPLY, 0, 9, -1, b"", reference=writer.add_reference("object"))
    return writer.finish(HEADER)


SMALL: Final = small()


def framed(rest: bytes) -> bytes:
    """Bytes behind a valid prefix, to test the decoding after the checksum."""
    return PREFIX.pack(MAGIC, zlib.crc32(rest), len(rest)) + rest


def packed(value: Any) -> bytes:
    return framed(msgpack.packb(value))


# --- there and back ------------------------------------------------------------------------------


def test_what_the_writer_took_comes_out() -> None:
    frame = decode_frame(SMALL)
    assert frame.header == HEADER
    assert frame.contracts == (KEY,)
    assert frame.envelopes == [
        Envelope(Kind.TELL, 7, 0, 0, b"\x81\xa1x\x01"),
        Envelope(Kind.ASK, 8, 9, 0, b"\x80", 1500, (b"buffer", b"view")),
        Envelope(Kind.REPLY, 0, 9, -1, b"", 0, (), 0),
    ]


@given(
    header=st.builds(FrameHeader, *(NUMBERS,) * 7),
    keys=st.lists(st.builds(ContractKey, st.text(), NUMBERS, NUMBERS), min_size=1, max_size=5),
    envelopes=st.lists(
        st.tuples(
            st.sampled_from([*range(Kind.PART), Kind.PARTIAL, Kind.GRANT]),
            NUMBERS,
            NUMBERS,
            st.integers(-1, 4),
            st.binary(),
            NUMBERS,
            st.lists(st.binary(), max_size=3).map(tuple),
            st.integers(-1, 10),
            st.text(),
            NUMBERS,
            NUMBERS,
            st.just(b"") | st.binary(min_size=TRACE_BYTES, max_size=TRACE_BYTES),
        ),
        max_size=8,
    ),
    parts=st.lists(st.tuples(NUMBERS, NUMBERS, st.binary()), max_size=4),
)
def test_any_frame_comes_back(
    header: FrameHeader,
    keys: list[ContractKey],
    envelopes: list[tuple[Any, ...]],
    parts: list[tuple[int, int, bytes]],
) -> None:
    writer = FrameWriter()
    numbers = [writer.contract(key) for key in keys]
    for kind, target, correlation, contract, *others, step, value, window, trace in envelopes:
        chosen = -1 if contract < 0 else numbers[contract % len(numbers)]
        more = {"step": step, "value": value, "window": window, "trace": trace}
        writer.add(kind, target, correlation, chosen, *others, **more)
    for value, total_bytes, part in parts:
        writer.add_part(value, total_bytes, part)
    frame = decode_frame(writer.finish(header))
    of_parts = frame.envelopes[len(envelopes) :]
    del frame.envelopes[len(envelopes) :]
    assert frame.parts == b"".join(part for _, _, part in parts)
    assert [(row.correlation, row.target, row.budget_ms) for row in of_parts] == [
        (value, total_bytes, len(part)) for value, total_bytes, part in parts
    ]
    assert frame.header == header
    assert frame.contracts == tuple(dict.fromkeys(keys))
    assert [row[4:] for row in frame.envelopes] == [tuple(row[4:]) for row in envelopes]
    named = [frame.contracts[row.contract] for row in frame.envelopes if row.contract >= 0]
    assert named == [keys[row[3] % len(keys)] for row in envelopes if row[3] >= 0]


def test_writer_is_empty_after_a_frame_and_knows_its_size_before() -> None:
    writer = FrameWriter()
    writer.contract(KEY)
    writer.contract(KEY)
    writer.add(Kind.TELL, 1, 0, 0, b"x" * 1000)
    writer.add_reference("object")
    assert writer.count == 1
    assert 1000 < writer.size_bytes < len(writer.finish(HEADER)) + 100
    assert (writer.count, writer.size_bytes, writer.references) == (0, 0, [])
    assert decode_frame(writer.finish(HEADER)) == Frame(HEADER, (), [])


def test_envelope_that_cannot_be_packed_leaves_the_frame_as_it_was() -> None:
    writer = FrameWriter()
    writer.add(Kind.TELL, 1, 0, -1, b"first")
    with pytest.raises((TypeError, OverflowError)):
        writer.add(Kind.TELL, 2**70, 0, -1, b"too wide")
    writer.add(Kind.TELL, 2, 0, -1, b"second")
    assert writer.count == 2
    bodies = [envelope.body for envelope in decode_frame(writer.finish(HEADER)).envelopes]
    assert bodies == [b"first", b"second"]


# --- bytes that are no frame ---------------------------------------------------------------------


@pytest.mark.parametrize("length", range(len(SMALL)))
def test_frame_cut_anywhere_is_a_frame_error(length: int) -> None:
    with pytest.raises(FrameError) as caught:
        decode_frame(SMALL[:length])
    assert caught.value.details["size_bytes"] == length


def test_frame_with_any_one_byte_altered_is_a_frame_error() -> None:
    for at in range(len(SMALL)):
        for value in range(256):
            altered = bytearray(SMALL)
            altered[at] = value
            if altered != SMALL:
                with pytest.raises(FrameError):
                    decode_frame(bytes(altered))


def test_frame_with_bytes_behind_it_is_a_frame_error() -> None:
    with pytest.raises(FrameError):
        decode_frame(SMALL + b"\x00")
    with pytest.raises(FrameError, match="ExtraData"):
        decode_frame(framed(SMALL[PREFIX.size :] + b"\x00"))
    writer = FrameWriter()
    writer.add_part(1, 4, b"part")
    data = writer.finish(HEADER)
    for altered in (data + b"s", data[:-1]):
        with pytest.raises(FrameError, match="its parts announce"):
            decode_frame(altered)


@pytest.mark.parametrize("begin", [b"XB\x02", b"CB\x01", b"CB\x00", b"\x00\x00\x00"])
def test_other_magic_or_format_is_refused_by_name(begin: bytes) -> None:
    with pytest.raises(FrameError, match="it begins with"):
        decode_frame(begin + SMALL[3:])


def test_frame_over_the_limit_is_refused_unread() -> None:
    limits = Limits(frame_bytes_max=len(SMALL))
    assert decode_frame(SMALL, limits)
    with pytest.raises(FrameError, match="over the limit"):
        decode_frame(SMALL + b"x", limits)


def test_more_envelopes_or_contracts_than_the_limit_are_refused() -> None:
    limits = Limits(frame_messages_max=3, contracts_max=3, buffers_max=3)
    row = (Kind.TELL, 1, 0, -1, b"", 0)
    wide = Limits(frame_messages_max=3, contracts_max=3, buffers_max=10)
    for envelopes, contracts, accepted in ((3, 3, True), (4, 0, False), (0, 4, False)):
        table = [("name", number, 1) for number in range(contracts)]
        data = packed((tuple(HEADER), table, [row] * envelopes))
        for given_limits in (wide,) if accepted else (limits, wide):
            if accepted:
                assert decode_frame(data, given_limits)
            else:
                with pytest.raises(FrameError):
                    decode_frame(data, given_limits)


GOOD_ROW: Final = [Kind.TELL, 1, 0, 0, b"", 0, [], -1]


@pytest.mark.parametrize(
    "parts",
    [
        None,
        7,
        [],
        [list(HEADER), []],
        [list(HEADER), [], [], []],
        [list(HEADER)[:6], [], []],
        [[*HEADER, 1], [], []],
        [[*HEADER[:6], -1], [], []],
        [[*HEADER[:6], 1.0], [], []],
        [[*HEADER[:6], True], [], []],
        [[*HEADER[:6], None], [], []],
        [list(HEADER), 5, []],
        [list(HEADER), [["name", 1]], []],
        [list(HEADER), [["name", 1, 1, 1]], []],
        [list(HEADER), [[b"name", 1, 1]], []],
        [list(HEADER), [["name", "1", 1]], []],
        [list(HEADER), [["name", 1, None]], []],
        [list(HEADER), [], 5],
        [list(HEADER), [], [5]],
        [list(HEADER), [], [[]]],
        *(
            [list(HEADER), [["name", 1, 1]], [[*GOOD_ROW[:at], wrong, *GOOD_ROW[at + 1 :]]]]
            for at, wrong in (
                (0, Kind.KINDS),
                (0, -1),
                (0, True),
                (1, "1"),
                (2, 1.0),
                (3, 1),
                (3, -2),
                (4, "text"),
                (4, None),
                (5, None),
                (6, b"bytes"),
                (6, [1]),
                (6, ["text"]),
                (7, None),
            )
        ),
        [list(HEADER), [["name", 1, 1]], [[*GOOD_ROW, 1]]],
        [list(HEADER), [["name", 1, 1]], [GOOD_ROW[:4]]],
        {"header": 1},
    ],
)
def test_other_shape_under_a_right_checksum_is_a_frame_error(parts: Any) -> None:
    with pytest.raises(FrameError):
        decode_frame(packed(parts))


def test_the_shape_those_cases_vary_is_a_frame() -> None:
    assert decode_frame(packed([list(HEADER), [["name", 1, 1]], [GOOD_ROW]]))


# --- fuzz ----------------------------------------------------------------------------------------


def refused_or_decoded(data: bytes) -> None:
    try:
        frame = decode_frame(data)
    except FrameError:
        return
    assert type(frame) is Frame
    for envelope in frame.envelopes:
        assert 0 <= envelope.kind < Kind.KINDS
        assert -1 <= envelope.contract < len(frame.contracts)
        assert type(envelope.body) is bytes


@settings(max_examples=examples(3_000))
@given(data=st.binary(max_size=300))
def test_random_bytes_are_a_frame_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(data)


@settings(max_examples=examples(3_000))
@given(rest=st.binary(max_size=300))
def test_random_bytes_under_a_right_checksum_raise_nothing_else(rest: bytes) -> None:
    refused_or_decoded(framed(rest))


@settings(max_examples=examples(5_000))
@given(data=st.data())
def test_mutated_bytes_under_a_right_checksum_raise_nothing_else(data: st.DataObject) -> None:
    rest = bytearray(SMALL[PREFIX.size :])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(rest) - 1, 0)))
        rest[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    refused_or_decoded(framed(bytes(rest)))


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"], ids=["list", "map", "bin", "str", "ext"]
)
@pytest.mark.parametrize("claimed", [4_096, 1_000_000, 9_999_999, 2**32 - 1])
@pytest.mark.parametrize("depth", [1, 200])
def test_claimed_lengths_take_no_memory(head: bytes, claimed: int, depth: int) -> None:
    data = framed(b"\x93" + (head + claimed.to_bytes(4, "big")) * depth)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            decode_frame(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4_000_000


def test_depth_of_a_thousand_lists_is_a_frame_error() -> None:
    for depth in (100, 1_000, 100_000):
        with pytest.raises(FrameError):
            decode_frame(framed(b"\x91" * depth + b"\x01"))
