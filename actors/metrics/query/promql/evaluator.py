"""The evaluator: an expression over a source of samples, at all moments at once."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from callboard.messages.core.errors import UsageError

from ...ports import Sample
from ...series import MatcherKind
from .aggregations import aggregate
from .histograms import bucket_quantiles, bucket_rates
from .operators import combine, combine_numbers, combine_with_number
from .parser import SET_OPERATORS, parse
from .samples import SampleSource, Times
from .syntax import (
    Aggregation,
    Binary,
    Call,
    Expression,
    Number,
    Selector,
    Text,
    Unary,
    ValueType,
    refused,
)
from .vectors import NAME, Floats, Tags, Vector

__all__ = ["MOMENTS_MAX", "ExpressionEvaluator", "RangeValues"]

MOMENTS_MAX: Final = 11_000
"""As in Prometheus: enough for one value a minute over a week."""
TIME_NS_MAX: Final = 2**62
"""In the year 2116: all sums of times are in 64 bits."""


@dataclass(frozen=True, slots=True)
class RangeValues:
    """The values of an expression at each step."""

    times_ns: Times
    """The times, ascending."""
    value_type: ValueType
    """A vector, or a number."""
    vector: Vector
    """A number is one series without tags."""


class ExpressionEvaluator:
    """An `Evaluator` of the query language, over any source of samples."""

    def __init__(self, source: SampleSource) -> None:
        self._source: Final = source

    @staticmethod
    def check(expression: str) -> None:
        """See `Evaluator.check`."""
        parse(expression)

    async def instant(self, expression: str, at_ns: int) -> tuple[Sample, ...]:
        """See `Evaluator.instant`."""
        _check_time(at_ns, at_ns)
        found = (await self.at(expression, np.array([at_ns], np.int64))).vector
        return tuple(
            Sample(tags, float(found.values[row, 0]))
            for row, tags in enumerate(found.tags)
            if found.present[row, 0]
        )

    async def range(self, expression: str, from_ns: int, to_ns: int, step_ns: int) -> RangeValues:
        """The value at `from_ns` and at each step after it, up to `to_ns` itself.

        Raises `QueryRefused`, `UsageError` for an unusable range, and the stores' errors.
        """
        if step_ns <= 0:
            raise UsageError("the step of the query is not over 0.", advice="Set a longer step.")
        if to_ns < from_ns:
            raise UsageError("the query ends before it begins.", advice="Swap the two times.")
        _check_time(from_ns, max(to_ns, step_ns))
        moments = (to_ns - from_ns) // step_ns + 1
        if moments > MOMENTS_MAX:
            raise UsageError(
                f"the query has {moments:,} steps, more than {MOMENTS_MAX:,}.",
                advice="Set a longer step, or ask for a shorter time.",
            )
        return await self.at(expression, from_ns + step_ns * np.arange(moments, dtype=np.int64))

    async def at(self, expression: str, times_ns: Times) -> RangeValues:
        """The values at ascending times. Raises `QueryRefused` and the stores' errors."""
        parsed = parse(expression)
        found = await _Evaluation(self._source, times_ns).value(parsed)
        if isinstance(found, np.ndarray):
            present = np.ones((1, len(times_ns)), bool)
            return RangeValues(times_ns, ValueType.SCALAR, Vector(((),), found[None, :], present))
        return RangeValues(times_ns, ValueType.VECTOR, found)


def _check_time(from_ns: int, to_ns: int) -> None:
    if not 0 <= from_ns <= to_ns < TIME_NS_MAX:
        raise UsageError(
            "the query's time is before 1970 or after 2116.", advice="Give nanoseconds since 1970."
        )


class _Evaluation:
    """One evaluation; a number is an array with a value for each moment."""

    def __init__(self, source: SampleSource, times_ns: Times) -> None:
        self._source: Final = source
        self._times: Final = times_ns

    async def value(self, node: Expression, *, presence: bool = False) -> Floats | Vector:
        match node:
            case Number():
                return np.full(len(self._times), node.value)
            case Selector():
                return await self._source.instant(node, self._times, presence=presence)
            case Unary():
                operand = await self.value(node.operand, presence=presence)
                return _signed(node, operand)
            case Binary():
                return await self._binary(node, presence=presence)
            case Aggregation():
                return await self._aggregation(node, presence=presence)
            case Call():
                return await self._call(node)
            case Text():
                raise refused(node.place, "a text has no value here.")

    async def _vector(self, node: Expression, *, presence: bool = False) -> Vector:
        found = await self.value(node, presence=presence)
        assert isinstance(found, Vector), "the parser has checked types"
        return found

    async def _number(self, node: Expression) -> Floats:
        found = await self.value(node)
        assert isinstance(found, np.ndarray), "the parser has checked types"
        return found

    async def _binary(self, node: Binary, *, presence: bool) -> Floats | Vector:
        counts_right = node.operator in {"and", "unless"}
        by_presence = presence and node.operator in SET_OPERATORS
        left = await self.value(node.left, presence=by_presence)
        right = await self.value(node.right, presence=counts_right or by_presence)
        if isinstance(left, Vector) and isinstance(right, Vector):
            return combine(node, left, right)
        if isinstance(left, Vector):
            assert isinstance(right, np.ndarray)
            return combine_with_number(node, left, right, number_is_left=False)
        if isinstance(right, Vector):
            return combine_with_number(node, right, left, number_is_left=True)
        return combine_numbers(node.operator, left, right)

    async def _aggregation(self, node: Aggregation, *, presence: bool) -> Vector:
        parameter = None if node.parameter is None else await self._number(node.parameter)
        counts = node.operator in {"count", "group"}
        aggregates = node.operator not in {"topk", "bottomk"}
        operand = await self._vector(node.operand, presence=counts or (presence and aggregates))
        return aggregate(node, operand, parameter)

    async def _call(self, node: Call) -> Floats | Vector:
        first = node.arguments[0] if node.arguments else None
        match node.function:
            case "time":
                return self._times / 1e9
            case "vector":
                assert first is not None
                number = await self._number(first)
                return Vector(((),), number[None, :], np.ones((1, len(number)), bool))
            case "scalar":
                assert first is not None
                return _as_number(await self._vector(first))
            case "absent":
                assert first is not None
                return _absent(first, await self._vector(first, presence=True))
            case "histogram_quantile":
                return await self._histogram_quantile(node)
            case "abs" | "ceil" | "floor" | "round" | "clamp_min" | "clamp_max":
                assert first is not None
                return await self._by_value(node, first)
            case _:
                return await self._over_time(node)

    async def _histogram_quantile(self, node: Call) -> Vector:
        quantile = await self._number(node.arguments[0])
        rates = bucket_rates(node.arguments[1])
        if rates is not None:
            found = await self._source.merged_quantile(*rates, self._times, quantile)
            if found is not None:
                return found
        return bucket_quantiles(await self._vector(node.arguments[1]), quantile)

    async def _by_value(self, node: Call, first: Expression) -> Vector:
        vector = await self._vector(first)
        number = await self._number(node.arguments[1]) if len(node.arguments) > 1 else 1.0
        given = vector.values
        with np.errstate(all="ignore"):
            match node.function:
                case "abs":
                    values = np.abs(given)
                case "ceil":
                    values = np.ceil(given)
                case "floor":
                    values = np.floor(given)
                case "clamp_min":
                    values = np.maximum(given, number)
                case "clamp_max":
                    values = np.minimum(given, number)
                case _:
                    # By the inverse, as Prometheus does: 5.3 stays 5.3 when rounded to 0.1.
                    inverse = np.divide(1.0, number)
                    values = np.floor(given * inverse + 0.5) / inverse
        found = Vector(vector.tags, values, vector.present)
        return found.unnamed(lambda problem: refused(node.place, problem))

    async def _over_time(self, node: Call) -> Vector:
        selector = node.arguments[-1]
        assert isinstance(selector, Selector), "only a selector gives a range"
        parameter = await self._number(node.arguments[0]) if len(node.arguments) > 1 else None
        function = node.function
        if function == "absent_over_time":
            found = await self._source.over("present_over_time", selector, self._times, None)
            return _absent(selector, found)
        found = await self._source.over(function, selector, self._times, parameter)
        if function == "last_over_time":
            return found
        return found.unnamed(lambda problem: refused(node.place, problem))


def _signed(node: Unary, operand: Floats | Vector) -> Floats | Vector:
    if not node.is_minus:
        return operand
    if not isinstance(operand, Vector):
        return -operand
    found = Vector(operand.tags, -operand.values, operand.present)
    return found.unnamed(lambda problem: refused(node.place, problem))


def _as_number(vector: Vector) -> Floats:
    """The value where there is one series exactly; else NaN."""
    alone = vector.present.sum(axis=0) == 1
    values = np.where(vector.present, vector.values, 0.0).sum(axis=0)
    return np.where(alone, values, np.nan)


def _absent(node: Expression, vector: Vector) -> Vector:
    """1 where no series has a value, with the tags that the selector asks for."""
    tags: Tags = ()
    if isinstance(node, Selector):
        asked = [matcher.tag for matcher in node.matchers]
        tags = tuple(
            sorted(
                (matcher.tag, matcher.value)
                for matcher in node.matchers
                if matcher.kind is MatcherKind.IS
                and matcher.tag != NAME
                and matcher.value
                and asked.count(matcher.tag) == 1
            )
        )
    present = ~np.any(vector.present, axis=0, keepdims=True)
    if not present.any():
        return Vector.empty(vector.moments)
    return Vector((tags,), np.ones(present.shape), present)
