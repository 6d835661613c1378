"""Of any two field types in a union, a value arrives as one of the type that it had."""

import dataclasses
import datetime as dt
import enum
from collections import Counter, OrderedDict, deque
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple, Union
from uuid import UUID

import pytest
from pydantic import AnyUrl, BaseModel, RootModel, create_model
from typing_extensions import TypedDict

from callboard.messages.core.contract import Contract
from tests.messages.core.drawn import differences
from tests.messages.core.transfer import Way


class Pair(NamedTuple):
    a: int


class Left(BaseModel):
    a: int = 0


class Right(BaseModel):
    a: int = 0


class Roots(RootModel[list[int]]):
    """A model that looks like its root."""


@dataclasses.dataclass
class Data:
    a: int = 0


class Keyed(TypedDict):
    a: int


class Digit(enum.Enum):
    ONE = 1


class Letter(enum.StrEnum):
    A = "a"


class Inner(Contract, name="tests.unions.inner"):
    a: int = 0


VALUES: dict[Any, list[Any]] = {
    deque[int]: [deque(), deque([1])],
    deque[str]: [deque(), deque(["a"])],
    tuple[int, ...]: [(), (1,)],
    tuple[str, ...]: [(), ("a",)],
    tuple[()]: [()],
    tuple[int, str]: [(1, "a")],
    list[int]: [[], [1]],
    list[str]: [[], ["a"]],
    set[int]: [set(), {1}],
    frozenset[int]: [frozenset(), frozenset([1])],
    dict[str, int]: [{}, {"a": 1}],
    OrderedDict[str, int]: [OrderedDict(), OrderedDict(a=1)],
    Counter[str]: [Counter(), Counter("a")],
    type(None): [None],
    int: [1],
    float: [1.0],
    bool: [True],
    str: ["1"],
    bytes: [b"1"],
    complex: [1j],
    Decimal: [Decimal(1)],
    Fraction: [Fraction(1)],
    Literal[1, "a"]: [1, "a"],
    UUID: [UUID(int=1)],
    dt.date: [dt.date(2020, 1, 1)],
    dt.datetime: [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],
    dt.timedelta: [dt.timedelta(1)],
    dt.time: [dt.time(1)],
    IPv4Address: [IPv4Address("1.2.3.4")],
    PurePosixPath: [PurePosixPath("a")],
    AnyUrl: [AnyUrl("http://a/")],
    Digit: [Digit.ONE],
    Letter: [Letter.A],
    Pair: [Pair(1)],
    Keyed: [Keyed(a=1)],
    Data: [Data(1)],
    Left: [Left(a=1)],
    Right: [Right()],
    Roots: [Roots([1])],
    Inner: [Inner(a=1)],
}
"""Field types, each with values of it: whatever looks alike on the wire stands here."""


def contract_of(annotation: Any) -> Any:
    """A contract with one field `x` of this type."""
    return create_model(
        "One", __base__=Contract, __cls_kwargs__={"name": "tests.unions.one"}, x=(annotation, ...)
    )


@pytest.mark.parametrize("first", VALUES, ids=repr)
def test_value_of_a_union_of_two_types_keeps_its_type(first: Any) -> None:
    """With the values of both, inside a list. The other order is the case of the other type."""
    tried = 0
    for second, values in VALUES.items():
        if second == first:
            continue
        union: Any = Union[first, second]  # noqa: UP007
        one = contract_of(list[union])
        for value in (*VALUES[first], *values):
            sent = one(x=[value])
            assert not differences(sent, Way().back(sent)), (union, value)
            tried += 1
    assert tried > len(VALUES)
