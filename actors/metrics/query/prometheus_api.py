"""The answers of Prometheus' read API, as functions from parameters to a status and a body.

A web server only has to route: `answer("query_range", parameters, …)` for a request to
`/api/v1/query_range`, with the parameters of its URL or form, and to write the body as JSON.
"""

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from callboard.messages.core.errors import CallboardError, UsageError

from ..errors import QueryRefused
from ..ports import WindowReader
from ..series import Matcher, SeriesKey
from .missing import allow_missing
from .promql.evaluator import ExpressionEvaluator, RangeValues
from .promql.lexer import TokenKind, duration_ns, tokens_of
from .promql.parser import parse
from .promql.syntax import Selector, ValueType
from .promql.vectors import NAME, Tags

__all__ = ["ENDPOINTS", "ApiAnswer", "PrometheusApi"]

Parameters = Mapping[str, Sequence[str]]
TIME_NS_MAX: Final = 2**62
SERIES_MAX: Final = 100_000
LABEL_VALUES: Final = re.compile(r"label/([^/]{1,200})/values\Z")
ENDPOINTS: Final = ("query", "query_range", "series", "labels", "label/<name>/values")
"""The paths below `/api/v1/` that are answered."""
TIME_ADVICE: Final = "Give seconds since 1970, or a time such as 2026-01-31T12:00:00Z."


class ApiAnswer(NamedTuple):
    """What a web server sends: the HTTP status, and the body to write as JSON."""

    status: int
    """The HTTP status."""
    body: dict[str, Any]
    """The fields of the body."""


class _BadParameterError(Exception):
    """A parameter is missing or wrong."""


@dataclass(frozen=True, slots=True)
class PrometheusApi:
    """The endpoints over one evaluator and one reader."""

    evaluator: ExpressionEvaluator
    """What evaluates expressions."""
    reader: WindowReader
    """What lists series."""

    async def answer(self, path: str, parameters: Parameters, now_ns: int) -> ApiAnswer:
        """Answer one request; `path` is what follows `/api/v1/`. Raises nothing of its own."""
        try:
            with allow_missing() as missing:
                body = await self._body(path, parameters, now_ns)
            if missing:
                warnings = (f"the segment {name} cannot be read" for name in sorted(missing))
                body["warnings"] = [*body.get("warnings", ()), *warnings]
            return ApiAnswer(200, {"status": "success", **body})
        except _BadParameterError as error:
            return _failure(400, "bad_data", str(error))
        except UsageError as error:
            return _failure(422, "execution", _text(error))
        except TimeoutError as error:
            return _failure(503, "timeout", str(error) or "the query took too long.")
        except CallboardError as error:
            return _failure(503, "unavailable", _text(error))

    async def _body(self, path: str, parameters: Parameters, now_ns: int) -> dict[str, Any]:
        if path == "query":
            return await self._query(parameters, now_ns)
        if path == "query_range":
            return await self._query_range(parameters)
        name = LABEL_VALUES.match(path)
        if name is None and path not in {"series", "labels"}:
            raise _BadParameterError(f"there is no /api/v1/{path[:100]}")
        found = await self._series(parameters, is_required=path == "series")
        if path == "series":
            return _limited([dict(_tags(key)) for key in found], parameters)
        values = {
            value if name else tag
            for key in found
            for tag, value in _tags(key)
            if name is None or tag == name.group(1)
        }
        return _limited(sorted(values), parameters)

    async def _query(self, parameters: Parameters, now_ns: int) -> dict[str, Any]:
        expression = self._checked(parameters)
        at_ns = _time(parameters, "time", now_ns)
        found = await self.evaluator.at(expression, np.array([at_ns], np.int64))
        seconds = _seconds(at_ns)
        if found.value_type is ValueType.SCALAR:
            data: Any = [seconds, _value(found.vector.values[0, 0])]
            return {"data": {"resultType": "scalar", "result": data}}
        data = [
            {"metric": dict(tags), "value": [seconds, _value(found.vector.values[row, 0])]}
            for row, tags in enumerate(found.vector.tags)
            if found.vector.present[row, 0]
        ]
        return {"data": {"resultType": "vector", "result": data}}

    async def _query_range(self, parameters: Parameters) -> dict[str, Any]:
        expression = self._checked(parameters)
        from_ns, to_ns = _time(parameters, "start"), _time(parameters, "end")
        step_ns = _step(parameters)
        if to_ns < from_ns:
            raise _BadParameterError('invalid parameter "end": it is before start')
        found = await self.evaluator.range(expression, from_ns, to_ns, step_ns)
        return {"data": {"resultType": "matrix", "result": _matrix(found)}}

    def _checked(self, parameters: Parameters) -> str:
        expression = _one(parameters, "query")
        try:
            self.evaluator.check(expression)
        except QueryRefused as error:
            raise _BadParameterError(f'invalid parameter "query": {_text(error)}') from None
        return expression

    async def _series(self, parameters: Parameters, *, is_required: bool) -> list[SeriesKey]:
        selectors = [_matchers(text) for text in parameters.get("match[]", ())]
        if is_required and not selectors:
            raise _BadParameterError("no match[] parameter provided")
        from_ns = _time(parameters, "start", 0)
        to_ns = _time(parameters, "end", TIME_NS_MAX - 1) + 1
        found: set[SeriesKey] = set()
        for matchers in selectors or [()]:
            found.update(await self.reader.series(matchers, from_ns, to_ns, SERIES_MAX))
        return sorted(found, key=_tags)


def _failure(status: int, kind: str, text: str) -> ApiAnswer:
    return ApiAnswer(status, {"status": "error", "errorType": kind, "error": text})


def _text(error: CallboardError) -> str:
    return f"{error.message} {error.advice}".strip()


def _one(parameters: Parameters, name: str) -> str:
    given = parameters.get(name, ())
    if not given or not given[0]:
        raise _BadParameterError(f'invalid parameter "{name}": it is missing')
    return given[0]


def _time(parameters: Parameters, name: str, default: int | None = None) -> int:
    if default is not None and not parameters.get(name):
        return default
    text = _one(parameters, name)
    try:
        found = round(float(text) * 1_000.0) * 1_000_000
    except OverflowError:
        found = -1
    except ValueError:
        found = _date(text)
    if not 0 <= found < TIME_NS_MAX:
        raise _BadParameterError(f'invalid parameter "{name}": {text[:60]!r}. {TIME_ADVICE}')
    return found


def _date(text: str) -> int:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return -1
    if found.tzinfo is None:
        return -1
    delta = found - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000


def _step(parameters: Parameters) -> int:
    text = _one(parameters, "step")
    try:
        first, end = tokens_of(text)
        step_ns = duration_ns(first) if end.kind is TokenKind.END else 0
    except (ValueError, QueryRefused):
        step_ns = 0
    if step_ns <= 0:
        raise _BadParameterError(
            f'invalid parameter "step": {text[:60]!r}. Give seconds, or a duration such as 5m.'
        )
    return step_ns


def _matchers(text: str) -> tuple[Matcher, ...]:
    try:
        found = parse(text)
    except QueryRefused as error:
        raise _BadParameterError(f'invalid parameter "match[]": {_text(error)}') from None
    if not isinstance(found, Selector) or found.offset_ns:
        raise _BadParameterError(f'invalid parameter "match[]": {text[:60]!r} is no selector')
    return found.matchers


def _limited(found: list[Any], parameters: Parameters) -> dict[str, Any]:
    if not parameters.get("limit"):
        return {"data": found}
    text = _one(parameters, "limit")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise _BadParameterError(f'invalid parameter "limit": {text[:60]!r}')
    limit = int(text)
    if not limit or len(found) <= limit:
        return {"data": found}
    return {"data": found[:limit], "warnings": ["results truncated due to limit"]}


def _tags(key: SeriesKey) -> Tags:
    return tuple(sorted(((NAME, key.name), *key.tags)))


def _matrix(found: RangeValues) -> list[dict[str, Any]]:
    seconds = [_seconds(time) for time in found.times_ns.tolist()]
    vector = found.vector
    rows: list[dict[str, Any]] = []
    for row in sorted(range(len(vector.tags)), key=vector.tags.__getitem__):
        places = np.flatnonzero(vector.present[row]).tolist()
        if places:
            values = vector.values[row].tolist()
            rows.append(
                {
                    "metric": dict(vector.tags[row]),
                    "values": [[seconds[place], _value(values[place])] for place in places],
                }
            )
    return rows


def _seconds(time_ns: int) -> float:
    whole, rest = divmod(time_ns, 1_000_000_000)
    return whole if not rest else round(whole + rest / 1e9, 3)


def _value(value: float) -> str:
    """A number as Prometheus writes it: all digits, without an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, trim="-")
