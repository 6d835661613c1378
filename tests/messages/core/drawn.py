"""Field types drawn at random, values of them, and equality that looks at types too."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import itertools
import pathlib
import types
import uuid
from collections import deque
from fractions import Fraction
from typing import Annotated, Any, Final, Literal, NamedTuple, Union
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, HttpUrl, RootModel, create_model
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from callboard.messages.core.contract import Contract
from callboard.messaging import Array

__all__ = ["TYPES", "Typed", "differences", "messages"]


class Typed(NamedTuple):
    """An annotation of a field, and a strategy for its values."""

    annotation: Any
    values: st.SearchStrategy[Any]
    is_hashable: bool = True


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2
    LEAP = dt.date(2024, 2, 29)


class Shade(enum.StrEnum):
    DARK = "dark"
    LIGHT = "light"


class Level(enum.IntEnum):
    LOW = 1
    HUGE = 2**70


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


class Corner(enum.Enum):
    NORTH_WEST = (0, 1)
    SOUTH_EAST = (1, 0)


class Cat(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str
    lives: int = 9


class Dog(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str
    lives: int = 1


class Kitten(Cat):
    age: dt.timedelta = dt.timedelta(days=7)


class Circle(BaseModel):
    model_config = ConfigDict(frozen=True)
    kind: Literal["circle"] = "circle"
    radius: float


class Square(BaseModel):
    model_config = ConfigDict(frozen=True)
    kind: Literal["square"] = "square"
    side: tuple[float, ...]


class Numbers(RootModel[tuple[int, ...]]):
    model_config = ConfigDict(frozen=True)


class Leaf(Contract, name="tests.drawn.leaf"):
    size: int


class Bud(Leaf, name="tests.drawn.bud"):
    opens: dt.date


class Pair(NamedTuple):
    left: int
    right: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    tags: tuple[str, ...] = ()
    y: float = 0.5
    z: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    x: int
    mode: Mode = Mode.READ


@pydantic_dataclass(frozen=True)
class Checked:
    x: int
    shade: Shade = Shade.DARK


class Movie(TypedDict):
    title: str
    years: tuple[int, ...]


ZONES: Final = st.sampled_from(["Europe/Berlin", "America/New_York", "UTC", "Asia/Kathmandu"])
OFFSETS: Final = st.integers(-23 * 60, 23 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
FLOATS: Final = st.floats(allow_nan=False)
CATS: Final = st.builds(Cat, name=st.text(max_size=3), lives=st.integers(0, 9))
DOGS: Final = st.builds(Dog, name=st.text(max_size=3), lives=st.integers(0, 9))
KITTENS: Final = st.builds(Kitten, name=st.text(max_size=3))
CIRCLES: Final = st.builds(Circle, radius=FLOATS)
SQUARES: Final = st.builds(Square, side=st.tuples(FLOATS))
POINTS: Final = st.builds(
    Point, x=FLOATS | st.integers(), tags=st.tuples(st.just("t")), y=st.integers(), z=st.just(3)
)
MOVIES: Final = st.fixed_dictionaries(
    {"title": st.text(max_size=3), "years": st.tuples(st.integers())}
)

LEAVES: Final = [
    Typed(None, st.none()),
    Typed(bool, st.booleans()),
    Typed(int, st.integers()),
    Typed(float, FLOATS),
    Typed(str, st.text(max_size=5)),
    Typed(bytes, st.binary(max_size=5)),
    Typed(complex, st.complex_numbers(allow_nan=False)),
    Typed(decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    Typed(Fraction, st.fractions()),
    Typed(uuid.UUID, st.uuids()),
    Typed(dt.datetime, st.datetimes()),
    Typed(dt.datetime, st.datetimes(timezones=OFFSETS)),
    Typed(
        dt.datetime,
        st.builds(
            lambda moment, key: moment.replace(tzinfo=ZoneInfo(key)), st.datetimes(), ZONES
        ),
    ),
    Typed(dt.date, st.dates()),
    Typed(dt.time, st.times()),
    Typed(dt.timedelta, st.timedeltas()),
    Typed(pathlib.Path, st.sampled_from(["a/b.py", "/"]).map(pathlib.Path)),
    Typed(pathlib.PurePath, st.sampled_from([pathlib.Path("a"), pathlib.PureWindowsPath("c:/a")])),
    Typed(pathlib.PurePosixPath, st.sampled_from(["a", "b"]).map(pathlib.PurePosixPath)),
    Typed(ipaddress.IPv4Address, st.ip_addresses(v=4)),
    Typed(ipaddress.IPv6Address, st.ip_addresses(v=6)),
    Typed(ipaddress.IPv4Network, st.ip_addresses(v=4).map(ipaddress.IPv4Network)),
    Typed(AnyUrl, st.sampled_from(["ftp://a.b/c?d", "x:y"]).map(AnyUrl)),
    Typed(HttpUrl, st.sampled_from(["https://a.b:81/c d?e#f", "http://ä.b"]).map(HttpUrl)),
    Typed(ZoneInfo, ZONES.map(ZoneInfo)),
    Typed(Literal["a", 1, True], st.sampled_from(["a", 1, True])),
    Typed(Literal[Shade.DARK, "dark"], st.sampled_from([Shade.DARK, "dark"])),
    Typed(Annotated[int, Field(ge=0, le=9)], st.integers(0, 9)),
    Typed(Annotated[str, Field(pattern="^[ab]+$")], st.text("ab", min_size=1, max_size=3)),
    *(Typed(cls, st.sampled_from(cls)) for cls in (Colour, Shade, Level, Corner)),
    Typed(Mode, st.sampled_from([Mode.READ, Mode.WRITE, Mode.READ | Mode.WRITE, Mode(0)])),
    Typed(Cat, CATS),
    Typed(Dog, DOGS),
    Typed(Kitten, KITTENS),
    Typed(Cat | Kitten, CATS | KITTENS),
    Typed(Circle | Square, CIRCLES | SQUARES),
    Typed(Annotated[Circle | Square, Field(discriminator="kind")], CIRCLES | SQUARES),
    Typed(Numbers, st.tuples(st.integers()).map(Numbers)),
    Typed(Leaf, st.builds(Leaf, size=st.integers())),
    Typed(Leaf, st.builds(Bud, size=st.just(1), opens=st.dates())),
    Typed(Pair, st.builds(Pair, st.integers(), st.tuples(st.text(max_size=2)))),
    Typed(Point, POINTS),
    Typed(Place, st.builds(Place, x=st.integers(), mode=st.sampled_from(Mode))),
    Typed(Checked, st.builds(Checked, x=st.integers(), shade=st.sampled_from(Shade))),
    Typed(Movie, MOVIES, is_hashable=False),
    Typed(Array, st.sampled_from([np.arange(3), np.zeros((2, 2), "f4")]), is_hashable=False),
    Typed(collections.Counter[str], st.just(collections.Counter("aab")), is_hashable=False),
]  # fmt: skip


def _of(origin: Any, *arguments: Any) -> Any:
    """The type with these arguments, which a type checker need not know."""
    return types.GenericAlias(origin, arguments)


def _either(one: Any, other: Any) -> Any:
    return Union[one, other]  # noqa: UP007 - either may be None


def _collected(inner: Typed) -> st.SearchStrategy[Typed]:
    one, values = inner.annotation, inner.values
    few = st.lists(values, max_size=3)
    ordered = few.map(lambda found: collections.OrderedDict(enumerate(found)))
    found = [
        Typed(_of(list, one), few, is_hashable=False),
        Typed(_of(tuple, one, ...), few.map(tuple), inner.is_hashable),
        Typed(_of(deque, one), few.map(deque), is_hashable=False),
        Typed(
            _of(dict, str, one),
            st.dictionaries(st.text(max_size=2), values, max_size=2),
            is_hashable=False,
        ),
        Typed(_either(one, None), st.none() | values, inner.is_hashable),
        Typed(_of(collections.OrderedDict, int, one), ordered, is_hashable=False),
    ]
    if inner.is_hashable:
        keyed = few.map(lambda keys: dict.fromkeys(keys, 1))
        found += [
            Typed(_of(set, one), few.map(set), is_hashable=False),
            Typed(_of(frozenset, one), few.map(frozenset)),
            Typed(_of(dict, one, int), keyed, is_hashable=False),
        ]
    return st.sampled_from(found)


NUMBERS: Final = itertools.count()


def _model_of(inner: list[Typed]) -> Typed:
    """A model with these fields."""
    names = [f"f{index}" for index in range(len(inner))]
    fields: Any = {name: (one.annotation, ...) for name, one in zip(names, inner, strict=True)}
    made = create_model(f"Drawn{next(NUMBERS)}", **fields)
    parts = {name: one.values for name, one in zip(names, inner, strict=True)}
    return Typed(made, st.builds(made, **parts), False)


def _extended(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    unions = st.tuples(inner, inner).map(
        lambda two: Typed(
            _either(two[0].annotation, two[1].annotation),
            two[0].values | two[1].values,
            two[0].is_hashable and two[1].is_hashable,
        )
    )
    models = st.lists(inner, min_size=1, max_size=3).map(_model_of)
    return st.one_of(inner.flatmap(_collected), unions, models)


TYPES: Final = st.recursive(st.sampled_from(LEAVES), _extended, max_leaves=6)
"""Types with strategies for their values."""


@st.composite
def messages(draw: st.DrawFn) -> Contract:
    """A message of a contract made for it."""
    drawn = draw(st.lists(TYPES, min_size=1, max_size=3))
    names = [f"f{index}" for index in range(len(drawn))]
    fields: Any = {name: (one.annotation, ...) for name, one in zip(names, drawn, strict=True)}
    name = {"name": f"tests.drawn.{next(NUMBERS)}"}
    made: type[Contract] = create_model("Drawn", __base__=Contract, __cls_kwargs__=name, **fields)
    try:
        return made(**{name: draw(one.values) for name, one in zip(names, drawn, strict=True)})
    except (AttributeError, DeprecationWarning):
        # A union tries its members in turn, and the standard library's networks raise these for
        # pairs of other values, where pydantic expects a `ValueError`.
        reject()


def differences(one: Any, other: Any, place: str = "it") -> list[str]:
    """Where two values differ, in type or value."""
    if type(one) is not type(other):
        return [f"{place}: {one!r} is a {type(one)}, {other!r} a {type(other)}"]
    if isinstance(one, BaseModel) or dataclasses.is_dataclass(one):
        names = (
            type(one).model_fields
            if isinstance(one, BaseModel)
            else [field.name for field in dataclasses.fields(one)]
        )
        pairs = [(name, getattr(one, name), getattr(other, name)) for name in names]
    elif isinstance(one, dict):
        if list(one) != list(other):
            return [f"{place}: {one!r} and {other!r}"]
        keys = zip(one, other, strict=True)
        pairs = [(f"key {key!r}", key, twin) for key, twin in keys]
        pairs += [(f"{key!r}", value, other[key]) for key, value in one.items()]
    elif isinstance(one, list | tuple | deque):
        if len(one) != len(other):
            return [f"{place}: {one!r} and {other!r}"]
        pairs = [(f"{at}", *two) for at, two in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, set | frozenset):
        twins = {value: value for value in other}
        if one != other:
            return [f"{place}: {one!r} and {other!r}"]
        pairs = [(repr(value), value, twins[value]) for value in one]
    elif isinstance(one, np.ndarray):
        return [] if one.dtype == other.dtype and np.array_equal(one, other) else [place]
    elif isinstance(one, dt.datetime | dt.time):
        pairs = [("zone", one.tzinfo, other.tzinfo), ("fold", one.fold, other.fold)]
        if one.replace(tzinfo=None) != other.replace(tzinfo=None):
            return [f"{place}: {one!r} and {other!r}"]
    else:
        return [] if one == other and repr(one) == repr(other) else [f"{place}: {one!r} {other!r}"]
    return [
        found
        for name, left, right in pairs
        for found in differences(left, right, f"{place}.{name}")
    ]
