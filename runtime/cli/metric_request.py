"""What `callboard metrics` was asked for: options to a question."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from callboard.actors.metrics.errors import QueryRefused
from callboard.actors.metrics.query.promql.evaluator import ExpressionEvaluator
from callboard.actors.metrics.query.promql.lexer import TokenKind, duration_ns, tokens_of
from callboard.actors.metrics.query.promql.patterns import checked_pattern
from callboard.actors.metrics.query.question import ListMetrics, QueryMetrics
from callboard.actors.metrics.query.range_query import function_named
from callboard.messages.core.errors import UsageError

__all__ = ["Asked", "asked_for", "duration_of", "time_of"]

MATCHER: Final = re.compile(r"([a-zA-Z_]\w*)(=~|!~|!=|=)(.*)\Z", re.ASCII | re.DOTALL)
HOUR_NS: Final = 3_600 * 1_000_000_000
TIME_NS_MAX: Final = 2**62


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, which can be asked again for a later time."""

    question: QueryMetrics
    """Without its time."""
    begin: str | None
    end: str | None

    @property
    def names_none(self) -> bool:
        """Whether no metric is named at all."""
        return not self.question.expression and not self.question.matchers

    def at(self, now_ns: int) -> QueryMetrics:
        """The question with its time. Raises `UsageError`."""
        begin, end = self._times(now_ns)
        times = {"from_ns": begin, "to_ns": end, "is_of_now": self.end is None}
        return self.question.model_copy(update=times)

    def listing(self, now_ns: int) -> ListMetrics:
        """The question which metrics there are. Raises `UsageError`."""
        if self.begin is None and self.end is None:
            return ListMetrics()
        begin, end = self._times(now_ns)
        return ListMetrics(from_ns=begin, to_ns=end)

    def _times(self, now_ns: int) -> tuple[int, int]:
        end = now_ns if self.end is None else time_of(self.end, now_ns)
        begin = end - HOUR_NS if self.begin is None else time_of(self.begin, end)
        if not 0 <= begin < end < TIME_NS_MAX:
            raise UsageError(
                "the time from --from to --to is empty, or out of bounds.",
                advice="Let the query begin before it ends.",
            )
        return begin, end


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
    function_named(function)
    own = [] if name is None else [("__name__", "=", name)]
    question = QueryMetrics(
        from_ns=0,
        to_ns=0,
        step_ns=0 if step is None else duration_of(step, "--step"),
        expression=expression or "",
        is_range=begin is not None or step is not None,
        matchers=(*own, *map(_matcher, tags)),
        function=function,
        by=None if by is None else tuple(filter(None, (tag.strip() for tag in by.split(",")))),
        top=top or 0,
    )
    return Asked(question, begin, end)


def _matcher(text: str) -> tuple[str, str, str]:
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
    return tag, kind, value


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
