"""What `callboard metrics` was asked for: options to a query, and its answer as plain columns."""

import datetime as dt
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from callboard.actors.metrics.errors import QueryRefused
from callboard.actors.metrics.ports import WindowReader
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from callboard.actors.metrics.query.promql.lexer import TokenKind, duration_ns, tokens_of
from callboard.actors.metrics.query.promql.patterns import checked_pattern
from callboard.actors.metrics.query.range_query import (
    MetricsQuery,
    function_named,
    run_query,
    step_for,
)
from callboard.actors.metrics.query.window_samples import WindowSamples
from callboard.actors.metrics.series import Matcher, MatcherKind
from callboard.messages.core.errors import UsageError

__all__ = ["Answer", "Asked", "Row", "asked_for", "duration_of", "time_of"]

MATCHER: Final = re.compile(r"([a-zA-Z_]\w*)(=~|!~|!=|=)(.*)\Z", re.ASCII | re.DOTALL)
HOUR_NS: Final = 3_600 * 1_000_000_000
TIME_NS_MAX: Final = 2**62
NAME: Final = "__name__"


@dataclass(frozen=True, slots=True)
class Row:
    """One series of an answer."""

    name: str
    tags: tuple[tuple[str, str], ...]
    values: list[float]
    """One for each time; NaN for none."""

    @property
    def label(self) -> str:
        """The series as the query language writes it."""
        tags = ", ".join(f'{name}="{value}"' for name, value in self.tags)
        return f"{self.name}{{{tags}}}" if tags else self.name or "{}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The values of some series, at one time or many."""

    rows: list[Row]
    times_ns: list[int]
    widths_ns: list[int] = field(default_factory=list)
    """How long the steps are that begin at the times; empty when the values are of moments."""

    @property
    def is_instant(self) -> bool:
        """Whether it is of one moment."""
        return not self.widths_ns and len(self.times_ns) == 1

    def to_data(self) -> dict[str, Any]:
        """The answer for machines."""
        return {
            "times_s": [time / 1e9 for time in self.times_ns],
            "widths_s": [width / 1e9 for width in self.widths_ns],
            "series": [
                {
                    "name": row.name,
                    "tags": dict(row.tags),
                    "values": [
                        value if math.isfinite(value) else _text(value) for value in row.values
                    ],
                }
                for row in self.rows
            ],
        }


def _text(value: float) -> str | None:
    """JSON has no infinity, and no NaN."""
    if math.isnan(value):
        return None
    return "+Inf" if value > 0 else "-Inf"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, which can be asked again for a later time."""

    expression: str | None
    query: MetricsQuery
    begin: str | None
    end: str | None
    step_ns: int
    is_range: bool

    @property
    def lists_metrics(self) -> bool:
        """Whether no metric is named at all."""
        return self.expression is None and not self.query.all_matchers()

    def times(self, now_ns: int) -> tuple[int, int]:
        """The beginning and the end. Raises `UsageError`."""
        end = now_ns if self.end is None else time_of(self.end, now_ns)
        begin = end - HOUR_NS if self.begin is None else time_of(self.begin, end)
        if not 0 <= begin < end < TIME_NS_MAX:
            raise UsageError(
                "the time from --from to --to is empty, or out of bounds.",
                advice="Let the query begin before it ends.",
            )
        return begin, end

    async def answer(self, reader: WindowReader, now_ns: int) -> Answer:
        """Ask. Raises `UsageError`, and the stores' errors."""
        begin, end = self.times(now_ns)
        if self.expression is not None:
            return await self._evaluated(reader, begin, end)
        query = _with_times(self.query, begin, end, self.step_ns)
        found = await run_query(reader, query)
        rows = [
            Row(series.name, series.tags, values)
            for series, values in zip(found.series, found.values.tolist(), strict=True)
        ]
        return Answer(_sorted(rows, query.top), found.starts_ns.tolist(), found.widths_ns.tolist())

    async def _evaluated(self, reader: WindowReader, begin: int, end: int) -> Answer:
        assert self.expression is not None
        evaluator = ExpressionEvaluator(WindowSamples(reader))
        if not self.is_range:
            samples = await evaluator.instant(self.expression, end)
            rows = [_row(sample.tags, [sample.value]) for sample in samples]
            return Answer(rows, [end])
        step = self.step_ns or step_for(begin, end)
        # At whole steps, where coarse windows begin too: the fewest are read then.
        found = await evaluator.range(self.expression, begin + -begin % step, end, step)
        vector = found.vector
        values = [
            [value if there else math.nan for value, there in zip(*pair, strict=True)]
            for pair in zip(vector.values.tolist(), vector.present.tolist(), strict=True)
        ]
        rows = [_row(tags, row) for tags, row in zip(vector.tags, values, strict=True)]
        return Answer(_sorted(rows, 0), found.times_ns.tolist())


def _with_times(query: MetricsQuery, begin: int, end: int, step: int) -> MetricsQuery:
    return MetricsQuery(
        query.name, query.matchers, begin, end, step, query.function, query.by, query.top
    )


def _row(tags: Sequence[tuple[str, str]], values: list[float]) -> Row:
    named = dict(tags)
    name = named.pop(NAME, "")
    return Row(name, tuple(named.items()), values)


def _sorted(rows: list[Row], top: int) -> list[Row]:
    return rows if top else sorted(rows, key=lambda row: (row.name, row.tags))


def asked_for(
    *,
    expression: str | None,
    name: str | None,
    tags: Sequence[str],
    function: str,
    by: str | None,
    top: int | None,
    begin: str | None,
    end: str | None,
    step: str | None,
) -> Asked:
    """The question of some options. Raises `UsageError`."""
    if expression is not None:
        given = (name, tags or None, by, top, None if function == "auto" else function)
        if any(option is not None for option in given):
            raise UsageError(
                "an expression says all itself, without --name, --tag, --function, --by and --top.",
                advice="Give an expression, or these options.",
            )
        ExpressionEvaluator.check(expression)
    elif name is None and not tags and (by is not None or top is not None or function != "auto"):
        raise UsageError("no metric is named.", advice="Give an expression, or --name.")
    query = MetricsQuery(
        name or "",
        tuple(map(_matcher, tags)),
        function=function_named(function),
        by=None if by is None else tuple(filter(None, (tag.strip() for tag in by.split(",")))),
        top=top or 0,
    )
    step_ns = 0 if step is None else duration_of(step, "--step")
    is_range = begin is not None or step is not None
    return Asked(expression, query, begin, end, step_ns, is_range)


def _matcher(text: str) -> Matcher:
    found = MATCHER.match(text)
    if found is None:
        raise UsageError(
            f"--tag {text[:60]!r} is no condition on a tag.",
            advice="Write TAG=VALUE, TAG!=VALUE, TAG=~PATTERN or TAG!~PATTERN.",
        )
    tag, kind, value = found.groups()
    if "~" in kind:
        try:
            checked_pattern(value, 0)
        except QueryRefused as error:
            raise UsageError(f"--tag {tag}: {error.message}", advice=error.advice) from None
    return Matcher(tag, MatcherKind(kind), value)


def duration_of(text: str, option: str) -> int:
    """A duration in nanoseconds. Raises `UsageError`."""
    found = _duration(text)
    if found <= 0:
        raise UsageError(f"{option}: {text[:60]!r} is no duration.", advice="Write 5m or 1h30m.")
    return found


def _duration(text: str) -> int:
    try:
        first, end = tokens_of(text)
        return duration_ns(first) if end.kind is TokenKind.END else 0
    except (ValueError, QueryRefused):
        return 0


def time_of(text: str, before_ns: int) -> int:
    """A time: a duration before another time, seconds since 1970, or a date. Raises `UsageError`.

    A date without a zone is one of this machine's zone.
    """
    if text.replace(".", "", 1).isdecimal() and text.isascii():
        return min(round(float(text) * 1e9), TIME_NS_MAX) if len(text) < 20 else TIME_NS_MAX
    if ago := _duration(text):
        return before_ns - ago
    try:
        found = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text[:60]!r} is no time.",
            advice="Write 6h, 2026-01-31T12:00, or seconds since 1970.",
        ) from None
    delta = found - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000
