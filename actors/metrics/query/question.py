"""A question about metrics and its answer as messages, which the admin API carries.

A question is an expression, or the parts of a `MetricsQuery`. It is answered by the process that
has the windows: a running system, with its newest ones, or a program that has opened a store.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import UsageError

from ..ports import WindowReader
from ..rows import WINDOWS_NS
from ..series import Matcher, MatcherKind
from .missing import allow_missing
from .promql.evaluator import ExpressionEvaluator
from .promql.vectors import NAME
from .range_query import MetricsQuery, function_named, run_query, step_for
from .window_samples import WindowSamples

__all__ = [
    "ListMetrics",
    "MetricsAnswered",
    "MetricsListed",
    "QueryMetrics",
    "SeriesAnswered",
    "answer_question",
    "list_metrics",
]

MINUTE_NS: Final = WINDOWS_NS[0]
VALUES_MAX: Final = 1_000_000
SERIES_LISTED_MAX: Final = 100_000
INFINITE: Final = {"+Inf": math.inf, "-Inf": -math.inf}


class SeriesAnswered(Contract, name="callboard.metrics.series_answered"):
    """The values of one series."""

    metric: str
    """Its name; empty where an expression keeps none."""
    tags: tuple[tuple[str, str], ...]
    """Names and values, sorted by name."""
    values: tuple[float | str | None, ...]
    """One for each time: a number, `+Inf`, `-Inf`, or None where there is none."""

    def floats(self) -> list[float]:
        """The values as numbers, NaN for none."""
        return [
            math.nan if value is None else INFINITE[value] if isinstance(value, str) else value
            for value in self.values
        ]

    @property
    def label(self) -> str:
        """The series as the query language writes it."""
        tags = ", ".join(f'{name}="{value}"' for name, value in self.tags)
        return f"{self.metric}{{{tags}}}" if tags else self.metric or "{}"


class MetricsAnswered(Contract, name="callboard.metrics.answered"):
    """The answer to `QueryMetrics`."""

    times_ns: tuple[int, ...]
    """The times of the values, ascending."""
    widths_ns: tuple[int, ...]
    """How long the steps are that begin at the times; empty when the values are of moments."""
    series: tuple[SeriesAnswered, ...]
    """By name and tags; the highest first where the question asks for the top."""
    open_until_ns: int = 0
    """When the windows end that the values are of, if these are still open; otherwise 0."""
    missing: tuple[str, ...] = ()
    """Segments that could not be read: the answer lacks their windows."""

    @property
    def is_instant(self) -> bool:
        """Whether it is of one moment."""
        return not self.widths_ns and len(self.times_ns) == 1


class QueryMetrics(Request[MetricsAnswered], name="callboard.query_metrics"):
    """Ask for values: of an expression, or of the series that fulfil matchers.

    The answer is `UsageError` for a wrong question, or a process that keeps no metrics.
    """

    from_ns: int
    """The beginning."""
    to_ns: int
    """The end; of a query by matchers, the first moment that is not asked for."""
    step_ns: int = 0
    """0: chosen for the time."""
    expression: str = ""
    """In the query language; empty: the matchers select the series."""
    is_range: bool = True
    """Whether an expression has a value at each step, or at `to_ns` alone."""
    is_of_now: bool = False
    """Whether `to_ns` is the present: then windows that are open answer if no other one does."""
    matchers: tuple[tuple[str, str, str], ...] = ()
    """Tag, comparison and value of each, also for the name: `("__name__", "=", "up")`."""
    function: str = "auto"
    """See `function_named`."""
    by: tuple[str, ...] | None = None
    """See `MetricsQuery.by`."""
    top: int = 0
    """See `MetricsQuery.top`."""

    def query(self) -> MetricsQuery:
        """The question as a query. Raises `UsageError`."""
        try:
            matchers = tuple(
                Matcher(tag, MatcherKind(kind), value) for tag, kind, value in self.matchers
            )
        except ValueError as error:
            raise UsageError(f"a condition is wrong: {error}.", advice="Use = != =~ !~.") from None
        return MetricsQuery(
            "",
            matchers,
            self.from_ns,
            self.to_ns,
            self.step_ns,
            function_named(self.function),
            self.by,
            self.top,
        )


class MetricsListed(Contract, name="callboard.metrics.listed"):
    """The answer to `ListMetrics`."""

    metrics: tuple[tuple[str, str, int], ...]
    """Of each its name, its kind and the number of its series, sorted."""
    missing: tuple[str, ...] = ()
    """Segments that could not be read: series that are in no other are not counted."""


class ListMetrics(Request[MetricsListed], name="callboard.list_metrics"):
    """Ask which metrics have windows in a time."""

    from_ns: int = 0
    """The beginning."""
    to_ns: int = 2**62
    """The first moment that is not asked for."""


async def answer_question(reader: WindowReader, question: QueryMetrics) -> MetricsAnswered:
    """Answer from these windows, also without segments that cannot be read, which it names.

    Raises `UsageError`, and the stores' errors.
    """
    if question.expression:
        with allow_missing() as missing:
            answered = await _evaluated(reader, question)
        return answered.model_copy(update={"missing": tuple(sorted(missing))})
    found = await run_query(reader, question.query())
    names = [(series.name, series.tags) for series in found.series]
    series = _answered(names, found.values.tolist())
    widths = tuple(found.widths_ns.tolist())
    return _bounded(
        MetricsAnswered(
            times_ns=tuple(found.starts_ns.tolist()),
            widths_ns=widths,
            series=tuple(series) if question.top else tuple(sorted(series, key=_by_label)),
            missing=found.missing,
        )
    )


async def _evaluated(reader: WindowReader, question: QueryMetrics) -> MetricsAnswered:
    """The values of an expression.

    A window counts once it has ended. So for the first minute of a job no window does; then the
    expression is evaluated for the end of the one that is open, which has what is there so far.
    """
    evaluator = ExpressionEvaluator(WindowSamples(reader))
    begin, end = question.from_ns, question.to_ns
    step = question.step_ns or step_for(begin, end)
    # At whole steps, where coarse windows begin too: the fewest are read then.
    found = await _values_of(evaluator, question, begin + -begin % max(step, 1), end, step)
    if question.is_of_now and not found.series:
        end += -end % MINUTE_NS
        found = await _values_of(evaluator, question, begin + (end - begin) % step, end, step)
        if found.series:
            return found.model_copy(update={"open_until_ns": end})
    return found


async def _values_of(
    evaluator: ExpressionEvaluator, question: QueryMetrics, begin: int, end: int, step: int
) -> MetricsAnswered:
    if not question.is_range:
        samples = await evaluator.instant(question.expression, end)
        names = [_split(sample.tags) for sample in samples]
        values = [[sample.value] for sample in samples]
        series = tuple(_answered(names, values))
        return MetricsAnswered(times_ns=(end,), widths_ns=(), series=series)
    found = await evaluator.range(question.expression, begin, end, step)
    vector = found.vector
    rows = [
        [value if there else math.nan for value, there in zip(*pair, strict=True)]
        for pair in zip(vector.values.tolist(), vector.present.tolist(), strict=True)
    ]
    series = tuple(sorted(_answered(map(_split, vector.tags), rows), key=_by_label))
    times = tuple(found.times_ns.tolist())
    return _bounded(MetricsAnswered(times_ns=times, widths_ns=(), series=series))


def _split(tags: Sequence[tuple[str, str]]) -> tuple[str, tuple[tuple[str, str], ...]]:
    return dict(tags).get(NAME, ""), tuple(tag for tag in tags if tag[0] != NAME)


def _answered(
    names: Iterable[tuple[str, tuple[tuple[str, str], ...]]], rows: Iterable[list[float]]
) -> list[SeriesAnswered]:
    return [
        SeriesAnswered(metric=name, tags=tags, values=tuple(map(_plain, row)))
        for (name, tags), row in zip(names, rows, strict=True)
    ]


def _plain(value: float) -> float | str | None:
    """JSON has no NaN, and no infinity."""
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _by_label(series: SeriesAnswered) -> tuple[object, ...]:
    return (series.metric, series.tags)


def _bounded(answered: MetricsAnswered) -> MetricsAnswered:
    if len(answered.times_ns) * len(answered.series) > VALUES_MAX:
        raise UsageError(
            f"the answer has {len(answered.times_ns) * len(answered.series):,} values, more than "
            f"{VALUES_MAX:,}.",
            advice="Use a longer step, or select fewer series.",
        )
    return answered


async def list_metrics(reader: WindowReader, request: ListMetrics) -> MetricsListed:
    """The metrics that have windows. Raises `UsageError` for too many, and the stores' errors."""
    counts: dict[tuple[str, str], int] = {}
    with allow_missing() as missing:
        keys = await reader.series((), request.from_ns, request.to_ns, SERIES_LISTED_MAX)
    for key in keys:
        place = (key.name, key.kind.name.lower())
        counts[place] = counts.get(place, 0) + 1
    found = sorted((name, kind, count) for (name, kind), count in counts.items())
    return MetricsListed(metrics=tuple(found), missing=tuple(sorted(missing)))
