"""Spans in memory: those that have begun, and the bounded queue of those that have ended."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from callboard.actors.kernel.tracing import SpanKind
from callboard.messages.core.errors import CallboardError, HostLost
from callboard.messages.core.trace_context import TraceContext

__all__ = ["RecordedSpan", "SpanQueue"]


class SpanQueue:
    """The ended spans of one process that wait for their sending. Any thread may use it.

    Invariant: recorded = sent + failed + dropped + waiting + under way to the collector.
    """

    def __init__(self, spans_max: int) -> None:
        self._spans: Final[deque[RecordedSpan]] = deque()
        self._spans_max: Final = spans_max
        self._lock: Final = threading.Lock()
        self.recorded = 0
        """Spans that have ended."""
        self.dropped = 0
        """Of these, spans for which there was no room."""
        self.lost = 0
        """Requests to a host that was lost: their spans over there may be lost with it."""

    def __len__(self) -> int:
        return len(self._spans)

    def add(self, span: "RecordedSpan") -> None:
        """Take an ended span, or drop and count it."""
        with self._lock:
            self.recorded += 1
            self.lost += span.is_lost_over_there
            if len(self._spans) >= self._spans_max:
                self.dropped += 1
            else:
                self._spans.append(span)

    def take(self, spans_max: int) -> "list[RecordedSpan]":
        """Take out the oldest spans, so many at most."""
        with self._lock:
            return [self._spans.popleft() for _ in range(min(spans_max, len(self._spans)))]


class RecordedSpan:
    """A span of this process; it enters the queue at its end."""

    __slots__ = (
        "_queue",
        "attributes",
        "began_ns",
        "context",
        "ended_ns",
        "error_type",
        "is_lost_over_there",
        "kind",
        "link",
        "name",
        "parent",
    )

    def __init__(
        self,
        queue: SpanQueue,
        name: str,
        kind: SpanKind,
        context: TraceContext,
        parent: TraceContext,
        attributes: Mapping[str, str | int],
        began_at: float = 0.0,
        link: TraceContext | None = None,
    ) -> None:
        self._queue: Final = queue
        self.name: Final = name
        self.kind: Final = kind
        self.context: Final = context
        self.parent: Final = parent
        """The span above it; one with the id 0 if there is none."""
        self.attributes: Final = attributes
        self.link: Final = link
        self.began_ns: Final = int(began_at * 1e9) or time.time_ns()
        self.ended_ns = 0
        self.error_type = ""
        """What it failed with: the code or class of an error, never its text, which may quote what
        somebody has sent."""
        self.is_lost_over_there = False

    def end(self, error: BaseException | None = None) -> None:
        """See `Span`."""
        if self.ended_ns:
            return
        self.ended_ns = max(time.time_ns(), self.began_ns)
        if error is not None:
            self.error_type = _type_of(error)
            self.is_lost_over_there = (
                self.kind is SpanKind.CLIENT and isinstance(error, HostLost) and error.may_have_run
            )
        self._queue.add(self)


def _type_of(error: BaseException) -> str:
    if isinstance(error, CallboardError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__qualname__
