"""Tracing: what the kernel and the roles need to record spans. The wiring gives a host its own.

A host without it has None here, and pays one comparison for each ask. A trace begins outside of the
actors: at an ask of a driver, or at an execution. An actor continues the trace of the message that
it handles, and begins none: otherwise each timer of each actor would be a trace.
"""

import enum
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from callboard.messages.core.trace_context import TraceContext

from .asks import Ask, AskFuture
from .cell_port import CellPort

__all__ = ["Span", "SpanKind", "Tracing"]


@enum.unique
class SpanKind(enum.Enum):
    """The role of a span, by the names of OpenTelemetry."""

    INTERNAL = "INTERNAL"
    CLIENT = "CLIENT"
    SERVER = "SERVER"


class Span(Protocol):
    """A span that has begun."""

    @property
    def context(self) -> TraceContext:
        """The context for what belongs into it."""

    def end(self, error: BaseException | None = None) -> None:
        """End it, as failed if there is an error. A second end is ignored."""


class Tracing(Protocol):
    """Records the spans of one host. It never waits; what it has no room for is counted."""

    @property
    def system(self) -> str:
        """The name of the system."""

    @property
    def ratio(self) -> float:
        """The share of the traces that begin here which are recorded, from 0 to 1."""

    def current(self) -> TraceContext | None:
        """The span of the code that calls, also one that the user's own code has begun."""

    def begin(
        self,
        name: str,
        kind: SpanKind,
        parent: TraceContext,
        attributes: Mapping[str, str | int],
        *,
        span_id: int = 0,
        began_at: float = 0.0,
        link: TraceContext | None = None,
    ) -> Span:
        """Begin a span; with no `span_id` it gets a new one, with no `began_at` it begins now.

        `began_at` is in seconds since 1970. `link` is a span that this one follows.
        """

    def asked(self, future: AskFuture, origin: Ask | None) -> None:
        """An ask is about to leave. If it belongs to a trace, it gets a span and its context.

        `origin` is the message whose handler asks, where that is known.
        """

    def handling(self, ask: Ask, cell: CellPort) -> AbstractContextManager[None]:
        """The span of the handler of an ask that has a context."""
