"""What arrives between hosts is equal to what was sent, and of the same types."""

import dataclasses
import datetime as dt
import enum
import gc
import ipaddress
import pathlib
import re
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given, settings
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    FutureDatetime,
    HttpUrl,
    InstanceOf,
    Json,
    JsonValue,
    PlainValidator,
    PrivateAttr,
    RootModel,
    SecretStr,
    StringConstraints,
    Tag,
    UrlConstraints,
    WrapValidator,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from callboard.messages.core.codec import Codec
from callboard.messages.core.contract import (
    Contract,
    ContractRegistry,
    contract_key,
    describe_contract,
)
from callboard.messages.core.errors import InvalidMessage, SpecError
from tests.messages.core.drawn import Cat, Dog, Kitten, Point, differences, messages
from tests.messages.core.transfer import Way
from tests.thoroughness import examples

ItemT = TypeVar("ItemT")


def contract_of(annotation: Any) -> Any:
    """A contract with one field `x` of this type."""
    return create_model(
        "One", __base__=Contract, __cls_kwargs__={"name": "tests.travel.one"}, x=(annotation, ...)
    )


def arrives(annotation: Any, value: Any) -> Any:
    """What arrives of a value in a field of this type."""
    sent = contract_of(annotation)(x=value)
    arrived = Way().back(sent)
    assert not differences(sent, arrived)
    return arrived.__dict__["x"]


@settings(max_examples=examples(1_000))
@given(message=messages())
def test_messages_of_any_field_types_arrive_as_they_were_sent(message: Contract) -> None:
    assert not differences(message, Way().back(message))


# --- unions ----------------------------------------------------------------------------------


class Empty(BaseModel):
    """No field."""


class Void(BaseModel):
    """No field either."""


class Box(BaseModel, Generic[ItemT]):
    item: ItemT


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Cat | Dog, Dog(name="a", lives=3)),
        (Cat | Kitten, Kitten(name="a")),
        (Empty | Void, Void()),
        (list[Cat] | list[Dog], [Dog(name="b")]),
        (dict[str, Any] | Cat, Cat(name="c")),
        (dict[str, Any] | Cat, {"name": "c", "lives": 9}),
        (pathlib.Path | str, "a"),
        (str | pathlib.Path, pathlib.Path("a")),
        (set[int] | list[int], [1]),
        (list[int] | set[int], {1}),
        (tuple[int, ...] | list[int], [1]),
        (list[int] | tuple[int, ...], (1,)),
        (int | float, 1),
        (float | int, 1),
        (float | int, 1.0),
        (int | bool, True),
        (bool | int, 1),
        (str | bytes, b"a"),
        (bytes | str, "a"),
        (dt.date | dt.datetime, dt.datetime(2024, 1, 1)),  # noqa: DTZ001 - a naive one is the case
        (AnyUrl | str, "x:y"),
        (str | HttpUrl, HttpUrl("https://a.b")),
        (Box[str] | Box[int], Box[int](item=1)),
        (list[float] | list[int], [1]),
        (frozenset[str] | None | tuple[str, ...], ("a",)),
    ],
    ids=repr,
)
def test_union_keeps_the_type_of_its_member(annotation: Any, value: Any) -> None:
    assert arrives(annotation, value) == value


def test_discriminator_that_is_a_function_is_not_asked_by_the_receiver() -> None:
    asked: list[Any] = []

    def kind(value: Any) -> str:
        asked.append(value)
        return "cat" if isinstance(value, Cat) else "dog"

    union = Annotated[Annotated[Cat, Tag("cat")] | Annotated[Dog, Tag("dog")], Discriminator(kind)]
    contract = contract_of(union)
    sent = contract(x=Dog(name="d"))
    asked.clear()
    assert not differences(sent, Way().back(sent))
    assert not asked


def test_discriminated_union_of_fields_with_aliases_arrives() -> None:
    class Left(BaseModel):
        kind: Literal["l"] = Field(default="l", alias="@kind")

    class Right(BaseModel):
        kind: Literal["r"] = Field(default="r", alias="@kind")

    union = Annotated[Left | Right, Field(discriminator="kind")]
    assert arrives(list[union], [Right(), Left()]) == [Right(), Left()]


# --- derived classes --------------------------------------------------------------------------


def test_derived_model_in_the_field_of_its_base_is_refused_when_it_is_sent() -> None:
    message = contract_of(Cat)(x=Kitten(name="k"))
    with pytest.raises(InvalidMessage, match=r"'x': a Kitten stands where no field declares"):
        Way().codec.encode(message)


def test_derived_model_arrives_whole_when_the_contract_declares_it_elsewhere() -> None:
    class Both(Contract, name="tests.travel.both"):
        base: Cat
        other: Kitten | None = None
        inside: InstanceOf[Cat] | None = None

    sent = Both(base=Kitten(name="k"), inside=Kitten(name="i"))
    assert not differences(sent, Way().back(sent))


def test_derived_dataclass_is_refused_when_it_is_sent() -> None:
    @dataclasses.dataclass(frozen=True)
    class Deep(Point):
        deeper: float = 0.0

    with pytest.raises(InvalidMessage, match=r"a .*Deep stands where"):
        Way().codec.encode(contract_of(Point)(x=Deep(x=1.0)))


# --- validators of users -----------------------------------------------------------------------


def cents(value: int) -> int:
    return value * 100


class Priced(Contract, name="tests.travel.priced"):
    made: ClassVar[list[str]] = []

    after: Annotated[int, AfterValidator(cents)]
    bounded: Annotated[int, Field(le=10), AfterValidator(cents)] = 1
    before: Annotated[int, BeforeValidator(cents), Field(le=500)] = 1
    wrapped: Annotated[int, WrapValidator(lambda value, inner: inner(value) * 100)] = 1
    plain: Annotated[int, PlainValidator(cents)] = 1
    inner: tuple[Annotated[int, PlainValidator(cents)], ...] = ()
    field: int = 1
    moment: Annotated[dt.datetime, BeforeValidator(dt.datetime.fromisoformat)] | None = None
    stamp: float = Field(default_factory=lambda: Priced.noted("stamp"))
    parsed: Json[list[int]] = Field(default="[1]", validate_default=True)
    text: Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator("{} ".format)]
    soon: FutureDatetime | None = None

    @classmethod
    def noted(cls, what: str) -> float:
        """Note that a function of the user ran."""
        cls.made.append(what)
        return 1.5

    @field_validator("field", mode="plain")
    @classmethod
    def _times(cls, value: int) -> int:
        return value * 100

    @model_validator(mode="before")
    @classmethod
    def _begins(cls, fields: Any) -> Any:
        Priced.made.append("before")
        return fields

    @model_validator(mode="after")
    def _ends(self) -> "Priced":
        Priced.made.append("after")
        self.__dict__["field"] += 1
        return self

    def model_post_init(self, _context: Any) -> None:
        Priced.made.append("init")


def test_validators_of_users_run_once_at_construction() -> None:
    moment: Any = "2024-01-01"
    sent = Priced(
        after=5, bounded=5, before=5, wrapped=5, plain=5, inner=(5,), field=5, moment=moment,
        text=" a ",
    )  # fmt: skip
    assert (sent.after, sent.bounded, sent.before, sent.wrapped) == (500, 500, 500, 500)
    assert (sent.plain, sent.inner, sent.field, sent.text) == (500, (500,), 501, "a ")
    assert (sent.parsed, sent.stamp) == ([1], 1.5)
    Priced.made.clear()
    arrived = Way().back(sent)
    assert not differences(sent, arrived)
    assert not Priced.made


def test_a_moment_that_was_in_the_future_may_be_past_when_it_arrives() -> None:
    sent = contract_of(FutureDatetime).model_construct(x=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    assert not differences(sent, Way().back(sent))


def test_validators_of_models_dataclasses_and_enums_run_once() -> None:
    class Grade(enum.Enum):
        A = 1

        @classmethod
        def _missing_(cls, value: object) -> "Grade":
            return cls.A

    class Inner(BaseModel):
        value: int
        grade: Grade = Grade.A

        @field_validator("value")
        @classmethod
        def _double(cls, value: int) -> int:
            return value * 2

    @dataclasses.dataclass
    class Made:
        value: int
        twice: int = dataclasses.field(init=False, default=0)

        def __post_init__(self) -> None:
            self.value *= 2
            self.twice = self.value * 2

    class Holds(Contract, name="tests.travel.holds"):
        inner: Inner
        made: Made
        many: tuple[Inner, ...] = ()

    sent = Holds(inner=Inner(value=1), made=Made(3), many=(Inner(value=2),))
    assert (sent.inner.value, sent.made.value, sent.many[0].value) == (2, 6, 4)
    assert not differences(sent, Way().back(sent))


# --- types and bounds are checked on arrival -----------------------------------------------------


class Checked(Contract, name="tests.travel.checked"):
    size: int = Field(default=1, ge=0, le=10)
    text: Annotated[str, BeforeValidator(str), Field(max_length=3)] = ""
    moment: dt.datetime | None = None
    tags: tuple[str, ...] = Field(default=(), max_length=2)
    link: Annotated[AnyUrl, UrlConstraints(max_length=12)] | None = None
    path: pathlib.Path | None = None
    choice: set[int] | list[int] = Field(default_factory=list)
    kind: Literal["a", "b"] = "a"
    converted: Annotated[int, AfterValidator(cents)] = 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 11),
        ("size", "1"),
        ("size", 1.0),
        ("size", True),
        ("text", "long"),
        ("text", b"x"),
        ("text", 1),
        ("moment", "2024-01-01"),
        ("moment", dt.date(2024, 1, 1)),
        ("tags", ["a", "b", "c"]),
        ("tags", [1]),
        ("link", AnyUrl("x://aaaaaaaaaaaaaa/b")),
        ("link", "x:y"),
        ("path", 1),
        ("choice", "ab"),
        ("choice", ["a"]),
        ("kind", "c"),
        ("converted", "1"),
        ("converted", 1.5),
        ("unknown", 1),
    ],
)
def test_types_and_bounds_are_checked_on_arrival(field: str, value: Any) -> None:
    fields = {**Checked().__dict__, field: value}
    body, buffers = Way().codec.encode(Checked.model_construct(None, **fields))
    if field == "unknown":
        body = msgpack.packb({None: 1, "unknown": 1})
    with pytest.raises(InvalidMessage, match=rf"violates contract tests\.travel\.checked.*{field}"):
        Way().decode(body, Checked, buffers)


def test_named_class_that_the_contract_cannot_hold_is_an_invalid_message() -> None:
    contract = contract_of(Cat | Dog)
    for name in ("Unknown", "Contract", "Path", ""):
        inner = len(name).to_bytes(2, "big") + name.encode() + msgpack.packb({"name": "a"})
        body = msgpack.packb({None: 1, "x": msgpack.ExtType(13, inner)})
        with pytest.raises(InvalidMessage, match="holds no"):
            Way().decode(body, contract)


# --- strict contracts --------------------------------------------------------------------------


class Hue(enum.StrEnum):
    RED = "red"


def test_strict_contract_arrives() -> None:
    class Strict(Contract, name="tests.travel.strict"):
        model_config = ConfigDict(strict=True)
        names: set[str]
        few: frozenset[int]
        pair: tuple[int, str]
        hue: Hue
        path: pathlib.Path
        cat: Cat
        point: Point
        parsed: Json[dict[str, int]]
        moment: dt.datetime
        address: ipaddress.IPv4Address
        many: deque[int]
        part: Fraction

    parsed: Any = '{"a": 1}'
    sent = Strict(
        names={"a"}, few=frozenset({1}), pair=(1, "a"), hue=Hue.RED, path=pathlib.Path("a"),
        cat=Cat(name="c"), point=Point(x=1.0), parsed=parsed, many=deque([1], maxlen=3),
        moment=dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
        address=ipaddress.IPv4Address("1.2.3.4"), part=Fraction(1, 3),
    )  # fmt: skip
    arrived = Way().back(sent)
    assert not differences(sent, arrived)
    assert arrived.many.maxlen == 3
    assert arrived.moment.tzinfo is ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Sequence[int], (1,)),
        (Sequence[int], [1]),
        (Sequence[int], deque([1])),
        (JsonValue, {"a": [1, None, {"b": 2.5}]}),
        (Hashable, (1, frozenset({2}))),
        (RootModel[tuple[int, ...]], RootModel[tuple[int, ...]]((1,))),
        (RootModel[set[int]], RootModel[set[int]]({1})),
        (dict[Cat, int], {Cat(name="a"): 1}),
        (set[Cat], {Cat(name="a")}),
        (OrderedDict[str, int], OrderedDict(b=1, a=2)),
        (dt.datetime, dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)),
        (dt.datetime, "2024-01-01T00:00:00+02:00"),
        (dt.time, dt.time(2, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)),
    ],
    ids=repr,
)
def test_further_types_arrive_as_they_were_sent(annotation: Any, value: Any) -> None:
    arrives(annotation, value)


def test_default_that_is_an_integer_stays_one_in_a_field_of_floats() -> None:
    class Defaults(Contract, name="tests.travel.defaults"):
        share: float = 0
        bounded: float = Field(default=1, le=2)

    for sent in (Defaults(), Defaults(share=1.5, bounded=2)):
        assert not differences(sent, Way().back(sent))
    body = msgpack.packb({"share": 0.0, "bounded": 3})
    with pytest.raises(InvalidMessage, match="bounded"):
        Way().decode(body, Defaults)


def test_zone_without_a_key_is_refused_when_it_is_sent() -> None:
    class Zone(dt.tzinfo):
        def utcoffset(self, _moment: Any) -> dt.timedelta:
            return dt.timedelta(hours=1)

        def dst(self, _moment: Any) -> None:
            return None

        def tzname(self, _moment: Any) -> str:
            return "own"

    message = contract_of(dt.datetime)(x=dt.datetime(2024, 1, 1, tzinfo=Zone()))
    with pytest.raises(InvalidMessage, match=r"use zoneinfo\.ZoneInfo"):
        Way().codec.encode(message)


def test_values_of_an_enum_that_a_field_uses_instead_of_its_members_arrive() -> None:
    class Uses(BaseModel):
        model_config = ConfigDict(use_enum_values=True)
        hue: Hue

    arrived = arrives(Uses, Uses(hue=Hue.RED))
    assert type(arrived.hue) is str


# --- types that cannot travel ------------------------------------------------------------------


class Custom:
    """A class that pydantic does not know."""


class Slug(str):
    """A class that makes its values by functions of its own."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class WithSlug(BaseModel):
    slug: Slug


class WithPrivate(BaseModel):
    _cache: int = PrivateAttr(default=1)


class OwnUrl(AnyUrl):
    """A URL class of a user."""


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (Callable[[], int], "'x' is declared as .*Callable.* choose the function at the receiver"),
        (type[int], r"declared as type\[int\].* the name of the class"),
        (Iterable[int], r"declared as .*Iterable\[int\].*declare tuple"),
        (re.Pattern[str], "Pattern.* Declare str, and compile"),
        (SecretStr, "SecretStr.*under which the receiver finds"),
        (ByteSize, "ByteSize.*Declare int"),
        (bytearray, "'x' is declared as bytearray.*Declare bytes"),
        (defaultdict[str, int], "defaultdict.*Declare dict"),
        (Custom, "'x' is declared as Custom.*Declare a contract"),
        (list[Custom], r"list\[.*Custom\].*Declare a contract"),
        (Slug, "Slug"),
        (dict[str, Slug], "Slug"),
        (WithSlug, r"WithSlug\.slug is declared as Slug"),
        (OwnUrl, "OwnUrl"),
        (WithPrivate, "WithPrivate has the private attribute '_cache'.*cached_property"),
    ],
    ids=str,
)
def test_type_that_cannot_travel_is_refused_when_the_class_is_defined(
    annotation: Any, says: str
) -> None:
    with pytest.raises(SpecError, match=f"contract One: .*{says}"):
        contract_of(annotation)


def test_type_that_pydantic_lets_pass_unchecked_is_refused_when_the_class_is_defined() -> None:
    with pytest.raises(SpecError, match=r"Open: the field 'x' is declared as Custom"):

        class Open(Contract):
            model_config = ConfigDict(arbitrary_types_allowed=True)
            x: Custom


def test_type_that_is_defined_later_is_refused_at_the_first_use() -> None:
    class Early(Contract):
        x: "Later"

    class Later(BaseModel):
        run: Callable[[], None]

    Early.model_rebuild(_types_namespace={"Later": Later})
    with pytest.raises(SpecError, match=r"Early: .*Later\.run is declared as"):
        describe_contract(Early)


# --- earlier releases --------------------------------------------------------------------------


def test_bare_values_of_earlier_releases_are_read_where_values_name_their_types_now() -> None:
    class Old(Contract, name="tests.travel.old"):
        any: Any
        pets: list[Cat | Dog]
        hue: Hue
        names: frozenset[str]
        pair: tuple[int, str]
        path: pathlib.Path
        either: pathlib.Path | None
        inside: Contract

    registry = ContractRegistry()
    inside = contract_of(int)
    registry.learn(inside)
    body = msgpack.packb(
        {
            "any": [1, "a"],
            "pets": [{"name": "a", "lives": 1}],
            "hue": "red",
            "names": ["a"],
            "pair": [1, "a"],
            "path": "a/b",
            "either": "c",
            "inside": msgpack.ExtType(8, msgpack.packb((*contract_key(inside), {"x": 1}))),
        }
    )
    old = Codec(registry).decode(body, describe_contract(Old).build)
    assert isinstance(old, Old)
    assert old.any == [1, "a"]
    assert old.pets in ([Cat(name="a", lives=1)], [Dog(name="a", lives=1)])
    assert (old.hue, old.names, old.pair) == (Hue.RED, frozenset({"a"}), (1, "a"))
    assert (old.path, old.either) == (pathlib.Path("a/b"), pathlib.Path("c"))
    assert old.inside == inside(x=1)


def test_upcaster_may_write_a_value_as_a_constructor_takes_it() -> None:
    class First(Contract, name="tests.travel.grown"):
        pets: Cat | Dog
        at: str

    class Second(Contract, name="tests.travel.grown", version=2):
        pets: Cat | Dog
        on: Annotated[dt.date, AfterValidator(lambda day: day + dt.timedelta(days=1))]
        upcasters: ClassVar = {1: lambda fields: {"pets": fields["pets"], "on": fields["at"]}}

    registry = ContractRegistry()
    registry.learn(Second)
    codec = Codec(registry)
    body, _ = codec.encode(First(pets=Dog(name="d"), at="2024-01-01"))
    grown = codec.decode(body, registry.resolve(*contract_key(First)))
    assert isinstance(grown, Second)
    assert (grown.pets, grown.on) == (Dog(name="d"), dt.date(2024, 1, 1))


def test_class_that_was_used_is_collected_with_what_was_made_for_it() -> None:
    contract = contract_of(Cat | Dog | list[Point])
    Way().back(contract(x=Dog(name="d")))
    gone = weakref.ref(contract)
    del contract
    gc.collect()
    assert gone() is None
