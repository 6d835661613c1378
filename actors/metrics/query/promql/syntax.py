"""The parts of an expression, after it was parsed and checked."""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from ...errors import QueryRefused
from ...series import Matcher

__all__ = [
    "Aggregation",
    "Binary",
    "Call",
    "Expression",
    "Matching",
    "Number",
    "Selector",
    "Text",
    "Unary",
    "ValueType",
    "refused",
    "type_of",
]


@enum.unique
class ValueType(enum.Enum):
    """What an expression gives, in the words of Prometheus."""

    SCALAR = "scalar"
    VECTOR = "instant vector"
    RANGE = "range vector"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Number:
    """A number."""

    value: float
    place: int


@dataclass(frozen=True, slots=True)
class Text:
    """A text in quotes."""

    value: str
    place: int


@dataclass(frozen=True, slots=True)
class Selector:
    """The series that fulfil all matchers, at one moment, or over a time before it."""

    matchers: tuple[Matcher, ...]
    range_ns: int
    """0: at one moment."""
    offset_ns: int
    place: int


@dataclass(frozen=True, slots=True)
class Unary:
    """A sign before an expression."""

    is_minus: bool
    operand: "Expression"
    place: int


@dataclass(frozen=True, slots=True)
class Matching:
    """Which series of two vectors belong together: those with equal values of some tags."""

    tags: tuple[str, ...]
    is_on: bool
    """These tags alone, or all others."""


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two expressions."""

    operator: str
    left: "Expression"
    right: "Expression"
    gives_bool: bool
    matching: Matching
    place: int


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One series for each group of series; `topk` and `bottomk` choose some of each group."""

    operator: str
    operand: "Expression"
    parameter: "Expression | None"
    grouping: Matching
    """`on`: by these tags; else without them."""
    place: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    function: str
    arguments: "tuple[Expression, ...]"
    gives: ValueType
    place: int


Expression: TypeAlias = Number | Text | Selector | Unary | Binary | Aggregation | Call


def type_of(expression: Expression) -> ValueType:
    """What an expression gives."""
    match expression:
        case Number():
            return ValueType.SCALAR
        case Text():
            return ValueType.STRING
        case Selector():
            return ValueType.RANGE if expression.range_ns else ValueType.VECTOR
        case Unary():
            return type_of(expression.operand)
        case Binary():
            types = {type_of(expression.left), type_of(expression.right)}
            return ValueType.SCALAR if types == {ValueType.SCALAR} else ValueType.VECTOR
        case Aggregation():
            return ValueType.VECTOR
        case Call():
            return expression.gives


def refused(place: int, problem: str, advice: str = "") -> QueryRefused:
    """The error for a problem at a place of the expression, which counts from 0."""
    return QueryRefused(f"character {place + 1} of the expression: {problem}", advice=advice)
