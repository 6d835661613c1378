"""Deliberate defects of partial results; see `mutations.py`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from callboard.actors.executions.call import TaskCall
from callboard.actors.executions.partials import Partials
from callboard.actors.kernel.asks import Ask
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.streams import StreamFuture, StreamWindow

from .mutation import Mutation

__all__ = ["PARTIALS"]


def _grant_forgotten(_right: Any) -> Any:
    return lambda *_given: None


def _window_slips(_right: Any) -> Any:
    async def give(self: Any, message: Any) -> None:
        if self.credit > 0:
            self.credit -= 1
            self.sink.partial(self.correlation, message)

    return give


def _newest_first(right: Any) -> Any:
    return lambda self, partials: right(self, partials[::-1])


def _newest_item_first(_right: Any) -> Any:
    def take(self: Any) -> Any:
        self._taken += 1
        return self.items.pop()

    return take


def _late_one_taken(_right: Any) -> Any:
    def partial(self: Any, _correlation: int, message: Any) -> None:
        self.run.take_partial(self, max(1, self.streamed), message)
        self.streamed += 1

    return partial


PARTIALS: Final[Mapping[str, Mutation]] = MappingProxyType(
    {
        "grant_forgotten": Mutation(
            "an agent waits for room for ever",
            Host, "grant", _grant_forgotten, "partials",
        ),
        "window_slips": Mutation(
            "a partial result without room is dropped",
            Ask, "give", _window_slips, "partials",
        ),
        "partials_backwards": Mutation(
            "the partial results of a turn are published from the newest on",
            Partials, "publish", _newest_first, "partials",
        ),
        "partial_counted_late": Mutation(
            "two partial results of an attempt have the same number",
            TaskCall, "partial", _late_one_taken, "partials",
        ),
        "stream_backwards": Mutation(
            "a reader gets the newest item of its stream first",
            StreamWindow, "take", _newest_item_first, "partials",
        ),
        "stream_waits_for_ever": Mutation(
            "no deadline ends the wait for an item",
            StreamFuture, "expired", lambda _right: lambda _self: None, "partials",
        ),
    }
)  # fmt: skip
"""The defects by name."""
