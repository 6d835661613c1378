"""What cannot travel says so, and bytes from outside end in a message or a `ContractError`."""

import datetime as dt
import enum
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.core.codec import size_bytes
from callboard.messages.core.contract import Contract, contract_key
from callboard.messages.core.errors import CallboardError, InvalidMessage, PayloadTooLarge
from callboard.messages.core.limits import Limits
from callboard.messages.core.ref import Address, Ref
from tests.messages.core.transfer import Free, Nest, NoSender, Place, Span, Way, nested
from tests.thoroughness import examples


class Pair(enum.Enum):
    BOTH = (1, 2)


# --- what cannot travel --------------------------------------------------------------------------


class Unprintable:
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


def unchecked(cls: type[Contract], **fields: Any) -> Contract:
    """A message whose fields are not validated."""
    return cls.model_construct(**fields)


def endless() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    "value",
    [
        object(),
        object,
        len,
        endless(),
        Unprintable(),
        "\ud800",
        {"key": {1: object()}},
        Pair.BOTH,
        {object(): 1},
        Decimal("1E+50000"),
        Decimal("1E-50000"),
        [np.array([1, 2]), object()],
        unchecked(Place, line=object()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_without_an_encoding_is_an_invalid_message_naming_the_contract(value: Any) -> None:
    way = Way()
    with pytest.raises(InvalidMessage, match=r"tests\.messages\.free cannot be encoded") as caught:
        way.value(value)
    assert caught.value.details["contract"] == "tests.messages.free"
    assert way.codec.encode(Free(x=1)) == (msgpack.packb({None: 1, "x": 1}), ())
    assert way.value([1]) == [1]


@pytest.mark.parametrize("levels", [2_000, 10_000])
def test_nesting_too_deep_to_encode_is_payload_too_large(levels: int) -> None:
    way = Way()
    with pytest.raises(PayloadTooLarge, match=r"tests\.messages\.free"):
        way.value(nested(levels))
    assert way.value(1) == 1


def test_nesting_over_the_limit_is_refused_by_the_receiver() -> None:
    way = Way(Limits(depth_max=20))
    assert way.value(nested(19)) == nested(19)
    with pytest.raises(PayloadTooLarge, match="deeper than 20"):
        way.value(nested(21))
    assert way.value(1) == 1


def test_contracts_in_contracts_are_encoded_up_to_the_limit() -> None:
    def nest(levels: int) -> Nest:
        message = Nest()
        for _ in range(levels):
            message = Nest.model_construct(inside=(message,))
        return message

    way = Way()
    assert way.back(nest(64)) == nest(64)
    for levels in (65, 2_000):
        with pytest.raises(PayloadTooLarge, match=r"tests\.codec\.nest"):
            way.codec.encode(nest(levels))
        assert way.back(nest(3)) == nest(3)


def test_deep_lists_in_deep_contracts_end_before_the_stack_does() -> None:
    """Each contract starts a packer of its own, so msgpack's limit counts from 0 in each."""
    message = Free(x=1)
    for _ in range(60):
        message = Free.model_construct(x=[nested(0), nested(400), message])
    for _ in range(200):
        message = Free.model_construct(x=[message])
        for _ in range(400):
            message.__dict__["x"] = [message.__dict__["x"]]
    way = Way()
    with pytest.raises(PayloadTooLarge, match=r"tests\.messages\.free"):
        way.codec.encode(message)
    assert way.value(1) == 1


def test_message_over_the_size_limit_is_payload_too_large_on_both_sides() -> None:
    limits = Limits(payload_bytes_max=1000, inline_bytes_max=500)
    way = Way(limits)
    assert way.value("x" * 900) == "x" * 900
    with pytest.raises(PayloadTooLarge, match=r"tests\.messages\.free has 10\d\d bytes"):
        way.value("x" * 1000)
    with pytest.raises(PayloadTooLarge, match="the limit is 1000"):
        way.decode(Way().codec.encode(Free(x="x" * 1000))[0])
    assert way.value(1) == 1


@pytest.mark.parametrize("value", [list(range(200)), {str(n): n for n in range(200)}])
def test_more_items_than_the_limit_are_payload_too_large(value: Any) -> None:
    way = Way(Limits(items_max=100))
    assert way.value(list(range(100))) == list(range(100))
    with pytest.raises(PayloadTooLarge, match="too many items"):
        way.value(value)
    with pytest.raises(PayloadTooLarge, match="too many items"):
        way.value([Free(x=value)])
    assert way.value(1) == 1


def test_size_counts_the_body_and_its_buffers() -> None:
    body, buffers = Way().codec.encode(Free(x=np.zeros(1000)))
    assert size_bytes(body, buffers) == len(body) + 8000


# --- hostile bytes -------------------------------------------------------------------------------

BODIES: Final = tuple(
    Way().codec.encode(message)[0]
    for message in (
        Free(x=[1, "a", b"b", None, 1.5, dt.datetime(2024, 1, 1, tzinfo=dt.UTC), uuid.UUID(int=1)]),
        Free(x={"a": Span(line=1, last=2), (1, 2): Decimal("1.5"), "t": dt.timedelta(1)}),
        Free(x=[np.zeros((2, 3)), np.zeros(2, [("a", "<f4", (2,)), ("b", "i2")])]),
        Free(x=Nest(inside=(Nest(inside=(Nest(),)),))),
        Free(x=[Ref(Address(1, 2), NoSender()), 2**100, 1j, dt.time(1, fold=1)]),
    )
)


def refused_or_decoded(body: bytes, buffers: tuple[bytes, ...]) -> None:
    way = Way()
    try:
        decoded = way.decode(body, buffers=buffers)
    except CallboardError:
        pass
    else:
        assert type(decoded) is Free
    assert way.value(1) == 1, "the codec is good for the next message"


@settings(max_examples=examples(3_000))
@given(body=st.binary(max_size=200), buffers=st.lists(st.binary(max_size=50), max_size=2))
def test_random_bytes_never_raise_anything_else(body: bytes, buffers: list[bytes]) -> None:
    refused_or_decoded(body, tuple(buffers))


@settings(max_examples=examples(3_000))
@given(body=st.binary(max_size=200), code=st.integers(0, 23))
def test_random_bytes_in_an_extension_never_raise_anything_else(body: bytes, code: int) -> None:
    refused_or_decoded(msgpack.packb({"x": msgpack.ExtType(code, body)}), (b"12345678",))


@settings(max_examples=examples(3_000))
@given(data=st.data())
def test_mutated_messages_never_raise_anything_else(data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from(BODIES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not body:
            break
    refused_or_decoded(bytes(body), (bytes(48), bytes(20)))


def extension(code: int, data: bytes) -> bytes:
    return bytes(msgpack.packb(msgpack.ExtType(code, data)))


@pytest.mark.parametrize("code", [8, 10])
def test_extensions_inside_extensions_end_before_the_stack_does(code: int) -> None:
    """6 kB of such bytes ended the process: each level takes 32 kB of the C stack."""
    body = msgpack.packb(None)
    for _ in range(3000):
        inner = msgpack.packb(("tests.messages.free", 1, 1))[1:] + body
        body = extension(code, body if code == 10 else b"\x94" + inner)
    with pytest.raises(PayloadTooLarge, match="nests 64 extensions"):
        Way().decode(b"\x81\xa1x" + body)


def test_lists_a_thousand_deep_are_refused() -> None:
    for levels in (100, 1_000, 5_000):
        with pytest.raises((PayloadTooLarge, InvalidMessage)):
            Way().decode(b"\x81\xa1x" + b"\x91" * levels + b"\x01")


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"])
@pytest.mark.parametrize("claimed", [9_999_999, 2**32 - 1])
def test_claimed_lengths_are_not_believed(head: bytes, claimed: int) -> None:
    claim = head + claimed.to_bytes(4, "big")
    for body in (b"\x81\xa1x" + claim, b"\x81\xa1x" + claim * 300):
        with pytest.raises((InvalidMessage, PayloadTooLarge)):
            Way().decode(body)


@pytest.mark.parametrize("value", [1, "text", [1], None, b"x", {1: 2}, {"y": 1}, {}])
def test_body_that_is_not_the_fields_is_an_invalid_message(value: Any) -> None:
    with pytest.raises(InvalidMessage):
        Way().decode(msgpack.packb(value))


class Counted(Contract, name="tests.codec.counted"):
    count: int


@pytest.mark.parametrize("text", [b"1E+999999999", b"-1e-999999999", b"1E+5_000_000"])
def test_decimal_of_a_few_bytes_never_becomes_an_integer_of_millions(text: bytes) -> None:
    body = msgpack.packb({"count": msgpack.ExtType(6, text)})
    with pytest.raises(InvalidMessage, match="exponent"):
        Way().decode(body, Counted)


def test_message_names_what_is_wrong_with_it() -> None:
    with pytest.raises(InvalidMessage, match="unknown extension type 77"):
        Way().decode(msgpack.packb({"x": msgpack.ExtType(77, b"")}))
    key = contract_key(Free)
    with pytest.raises(InvalidMessage, match=rf"{key.name} v1.*x: Field required"):
        Way().decode(msgpack.packb({}))
