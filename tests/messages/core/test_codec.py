"""The codec: every supported type decodes to itself, and other types raise errors."""

import datetime as dt
import enum
import functools
import ipaddress
import math
import pathlib
import types
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, Final, Literal
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel

from callboard.messages.core.contract import Contract
from callboard.messages.core.errors import InvalidMessage, UnknownContract, VersionMismatch
from callboard.messages.core.ref import Address, Ref
from tests.messages.core.drawn import differences
from tests.messages.core.transfer import Free, NoSender, Place, Span, Way
from tests.thoroughness import examples


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Shade(enum.StrEnum):
    DARK = "dark"


class Level(enum.IntEnum):
    LOW = 1
    HUGE = 2**70


class Day(enum.Enum):
    LEAP = dt.date(2024, 2, 29)


class Point(BaseModel):
    x: int
    label: str = Field(default="", alias="name")
    when: dt.datetime | None = None


class Numbers(RootModel[list[int]]):
    pass


class Moment(RootModel[dt.datetime]):
    pass


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


# --- round trips ---------------------------------------------------------------------------------

AWARE: Final = st.datetimes(
    timezones=st.one_of(
        st.just(dt.UTC),
        # Of whole seconds: Python itself reads an offset of less than one as UTC.
        st.integers(-23 * 3600, 23 * 3600).map(lambda s: dt.timezone(dt.timedelta(seconds=s))),
    )
)
LEAVES: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**300), max_value=2**300),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.datetimes(),
    AWARE,
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.complex_numbers(allow_nan=False),
)
KEYS: Final = st.one_of(
    st.text(), st.integers(-(2**63), 2**63 - 1), st.binary(), st.booleans(), st.dates(), st.uuids()
)
VALUES: Final = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(st.tuples(st.integers(0, 9), st.text()), inner, max_size=2),
    ),
    max_leaves=12,
)


@settings(max_examples=examples(400))
@given(value=VALUES)
def test_any_nesting_of_plain_values_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    decoded = Way().value(value)
    assert decoded == value
    assert type(decoded) is type(value)


class Everything(Contract, name="tests.codec.everything"):
    moment: dt.datetime
    day: dt.date
    time: dt.time
    span: dt.timedelta
    id: uuid.UUID
    amount: Decimal
    blob: bytes
    colour: Colour
    shade: Shade
    level: Level
    leap: Day
    names: frozenset[str]
    numbers: set[int]
    pair: tuple[int, str]
    by_pair: dict[tuple[int, int], str]
    by_set: dict[frozenset[int], int]
    number: int
    wave: complex
    kind: Literal["a", 1] | None
    point: Point
    points: tuple[Point, ...]
    place: Place
    path: pathlib.PurePosixPath
    nothing: None


EVERYTHING: Final = st.builds(
    Everything,
    moment=st.one_of(st.datetimes(), AWARE),
    day=st.dates(),
    time=st.times(),
    span=st.timedeltas(),
    id=st.uuids(),
    amount=st.decimals(allow_nan=False, allow_infinity=False),
    blob=st.binary(),
    colour=st.sampled_from(Colour),
    shade=st.sampled_from(Shade),
    level=st.just(Level.LOW),
    leap=st.sampled_from(Day),
    names=st.frozensets(st.text()),
    numbers=st.sets(st.integers()),
    pair=st.tuples(st.integers(), st.text()),
    by_pair=st.dictionaries(st.tuples(st.integers(), st.integers()), st.text(), max_size=3),
    by_set=st.dictionaries(st.frozensets(st.integers()), st.integers(), max_size=3),
    number=st.integers(),
    wave=st.complex_numbers(allow_nan=False),
    kind=st.sampled_from(["a", 1, None]),
    point=st.builds(Point, x=st.integers(), name=st.text(), when=st.none() | AWARE),
    points=st.lists(st.builds(Point, x=st.integers()), max_size=3).map(tuple),
    place=st.builds(Place, line=st.integers()) | st.builds(Span, line=st.just(1), last=st.just(2)),
    path=st.sampled_from([pathlib.PurePosixPath("a/b.py"), pathlib.PurePosixPath("/")]),
    nothing=st.none(),
)


@settings(max_examples=examples(200))
@given(message=EVERYTHING)
def test_declared_fields_of_every_supported_type_come_back_equal(message: Everything) -> None:
    decoded = Way().back(message)
    assert decoded == message
    for field in Everything.model_fields:
        assert type(getattr(decoded, field)) is type(getattr(message, field)), field


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001 - a naive one is the case
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=0),
        dt.datetime(1850, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.datetime.min,  # noqa: DTZ901 - a naive one is the case
        dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-23, minutes=-59))),
    ],
)
def test_datetime_keeps_its_fold_its_offset_and_its_fields(moment: dt.datetime) -> None:
    decoded = Way().value(moment)
    assert decoded.replace(tzinfo=None) == moment.replace(tzinfo=None)
    assert (decoded.fold, decoded.utcoffset()) == (moment.fold, moment.utcoffset())


def test_time_keeps_its_fold_and_its_offset() -> None:
    time = dt.time(2, 30, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)), fold=1)
    decoded = Way().value(time)
    assert (decoded, decoded.fold) == (time, 1)


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "-NaN7", "Infinity", "-Infinity", "-0", "1E+6144", "1.20", "1E-6144"]
)
def test_decimal_keeps_every_digit_sign_and_special_value(text: str) -> None:
    assert str(Way().value(Decimal(text))) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0])
def test_float_keeps_special_values(value: float) -> None:
    assert repr(Way().value(value)) == repr(value)


@pytest.mark.parametrize(
    "value",
    [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**5000, -(10**5000)],
    ids=lambda value: f"{'-' if value < 0 else ''}{value.bit_length()} bits",
)
def test_integer_of_any_size_comes_back(value: int) -> None:
    assert Way().value(value) == value
    assert Way().value({"in": [value]}) == {"in": [value]}


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.int8(-3),
        np.bool_(True),
        np.str_("x"),
        np.complex128(1 + 2j),
        np.datetime64("2024-02-29"),
        np.timedelta64(5, "s"),
        {1, 2},
        frozenset({(1, 2)}),
        (1, (2,), [3]),
        {"deep": [({1: (2,)},)]},
        Fraction(1, 3),
        pathlib.Path("a/b"),
        ipaddress.IPv4Address("10.0.0.1"),
        ZoneInfo("Europe/Berlin"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_in_a_field_that_may_be_anything_a_value_keeps_its_type(value: Any) -> None:
    assert not differences(value, Way().value(value))


@pytest.mark.parametrize(
    ("value", "arrives"), [(bytearray(b"ab"), b"ab"), (memoryview(b"ab"), b"ab")]
)
def test_bytes_that_can_change_arrive_as_bytes(value: Any, arrives: bytes) -> None:
    assert Way().value(value) == arrives


@pytest.mark.parametrize(
    "value", [Colour.RED, Level.HUGE, Point(x=1, name="n"), Numbers([1])], ids=repr
)
def test_object_of_a_class_that_the_receiver_cannot_know_is_refused_when_it_is_sent(
    value: Any,
) -> None:
    with pytest.raises(InvalidMessage, match=r"free cannot be encoded: its field 'x': .*declares"):
        Way().value(value)


def test_object_of_a_class_derived_from_a_plain_one_is_refused_when_it_is_sent() -> None:
    class Stamp(dt.datetime):
        pass

    class Id(uuid.UUID):
        pass

    class Text(str):
        __slots__ = ()

    for value in (Stamp(2024, 1, 1), Id(int=5), Text("x")):
        with pytest.raises(InvalidMessage, match="would arrive as a"):
            Way().value(value)


# --- nested values -------------------------------------------------------------------------------


def test_nested_contract_stays_the_subclass_it_is() -> None:
    class Holder(Contract, name="tests.codec.holder"):
        place: Place
        places: list[Place]

    held = Way().back(Holder(place=Span(line=1, last=2), places=[Place(line=3)]))
    assert type(held.place) is Span
    assert held.place == Span(line=1, last=2)
    assert type(held.places[0]) is Place


def test_nested_contract_in_a_free_field_is_a_contract_again() -> None:
    assert Way().value({"deep": [Span(line=1, last=2)]}) == {"deep": [Span(line=1, last=2)]}


def test_nested_contract_of_an_older_version_is_upcast() -> None:
    name = "tests.codec.grown"
    old = types.new_class("Grown", (Contract,), {"name": name, "version": 1})
    body, _ = Way().codec.encode(Free(x=[old()]))
    way = Way()

    class Grown(Contract, name="tests.codec.grown", version=2):
        line: int
        upcasters: ClassVar = {1: lambda fields: {"line": 7}}

    way.registry.learn(Grown)
    decoded = way.decode(body)
    assert isinstance(decoded, Free)
    assert decoded.x == [Grown(line=7)]


def test_nested_contract_that_is_unknown_or_newer_says_so() -> None:
    def body(name: str, version: int) -> bytes:
        inner = msgpack.packb((name, version, 1, {}))
        return bytes(msgpack.packb({"x": msgpack.ExtType(8, inner)}))

    way = Way()
    way.registry.learn(Place)
    with pytest.raises(UnknownContract):
        way.decode(body("nobody.knows.this", 1))
    for version in (1, 2, -(10**15)):
        with pytest.raises(VersionMismatch):
            way.decode(body("tests.codec.place", version))


class Holds(Contract, name="tests.codec.holds"):
    point: Point
    numbers: Numbers
    moment: Moment
    extended: Open


def test_nested_models_with_aliases_roots_and_extras_come_back_whole() -> None:
    message = Holds(
        point=Point(x=1, name="alias"),
        numbers=Numbers([1, 2]),
        moment=Moment(dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        extended=Open(x=1, more="kept"),  # type: ignore[call-arg]
    )
    assert Way().back(message) == message


def test_cached_properties_do_not_travel() -> None:
    class Inner(BaseModel):
        x: int

        @functools.cached_property
        def twice(self) -> int:
            return self.x * 2

    class Outer(Contract, name="tests.codec.outer"):
        inner: Inner

        @functools.cached_property
        def thrice(self) -> int:
            return self.inner.x * 3

    message = Outer(inner=Inner(x=2))
    assert (message.thrice, message.inner.twice) == (6, 4)
    for sent in (message, Free(x=message)):
        Way().back(sent)
    decoded = Way().back(message)
    assert set(vars(decoded)) == {"inner"}
    assert (decoded.thrice, decoded.inner.twice) == (6, 4)


def test_reference_rides_as_an_external_and_is_bound_where_it_arrives() -> None:
    class Subscribe(Contract, name="tests.codec.subscribe"):
        who: Ref[Any]
        others: dict[str, Ref[Any]]

    there = NoSender()

    def internalise(data: Any) -> Ref[Any]:
        kind, slot, cell = data
        assert kind == "ref"
        return Ref(Address(slot, cell), there)

    ref: Ref[Any] = Ref(Address(3, 9), NoSender())
    decoded = Way(internalise=internalise).back(Subscribe(who=ref, others={"a": ref}))
    assert decoded.who == ref == decoded.others["a"]
    assert decoded.who._sender is there


def test_external_that_names_nothing_here_is_an_invalid_message() -> None:
    def internalise(data: Any) -> Any:
        raise LookupError(data)

    with pytest.raises(InvalidMessage, match="LookupError"):
        Way(internalise=internalise).value(Ref(Address(1, 2), NoSender()))
