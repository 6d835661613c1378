"""The evaluator of rules over windows: it knows which metrics do not exist, too."""

import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from callboard.messages.core.errors import UsageError

from ..metrics.ports import WindowReader
from ..metrics.query.promql.evaluator import ExpressionEvaluator
from ..metrics.query.promql.parser import parse
from ..metrics.query.promql.syntax import Selector
from ..metrics.query.window_samples import WindowSamples
from ..metrics.series import Matcher, MatcherKind

__all__ = ["WindowEvaluator"]

BACK_NS: Final = 3_600 * 1_000_000_000
"""A metric that had no window for an hour, and for the longest range of its expression, does not
exist."""
NAME: Final = "__name__"


class WindowEvaluator(ExpressionEvaluator):
    """Evaluates expressions over the windows of a reader; `close` calls `on_close`."""

    def __init__(
        self, reader: WindowReader, on_close: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(WindowSamples(reader))
        self._reader: Final = reader
        self._on_close: Final = on_close

    async def missing(self, expression: str, at_ns: int) -> tuple[str, ...]:
        """See `KnowsMissing`. A metric that is selected by a pattern is never missing."""
        back_ns: dict[str, int] = {}
        for selector in _selectors(parse(expression)):
            for matcher in selector.matchers:
                if matcher.tag == NAME and matcher.kind is MatcherKind.IS:
                    reach_ns = BACK_NS + selector.range_ns + max(0, selector.offset_ns)
                    back_ns[matcher.value] = max(back_ns.get(matcher.value, 0), reach_ns)
        return tuple(
            sorted(
                [name for name, ns in back_ns.items() if not await self._exists(name, at_ns, ns)]
            )
        )

    async def close(self) -> None:
        """See `Closes`."""
        if self._on_close is not None:
            await self._on_close()

    async def _exists(self, name: str, at_ns: int, back_ns: int) -> bool:
        by_name = (Matcher(NAME, MatcherKind.IS, name),)
        try:
            return bool(await self._reader.series(by_name, at_ns - back_ns, at_ns + 1, 1))
        except UsageError:
            return True  # It has more than one.


def _selectors(part: Any) -> Iterator[Selector]:
    """All selectors in a part of an expression."""
    if isinstance(part, Selector):
        yield part
    elif isinstance(part, tuple):
        for each in part:
            yield from _selectors(each)
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            yield from _selectors(getattr(part, field.name))
