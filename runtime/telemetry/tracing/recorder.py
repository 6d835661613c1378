"""Records the spans of one host: what the kernel asks of a `Tracing`.

The span of a handler is OpenTelemetry's current span while the handler runs. So what the handler's
own code or a library records by OpenTelemetry belongs below it, and its asks find it there.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

from opentelemetry import context as current_context
from opentelemetry import trace

from callboard.actors.kernel.asks import Ask, AskFuture
from callboard.actors.kernel.cell_port import CellPort
from callboard.actors.kernel.isolation import runs_for_actor
from callboard.actors.kernel.stash import Stashed
from callboard.actors.kernel.tracing import SpanKind
from callboard.messages.core.trace_context import TraceContext, is_chosen, unpack_trace

from .spans import RecordedSpan, SpanQueue

__all__ = ["HostTracing"]

OWN_CONTRACTS: Final = "callboard."
"""Messages of Callboard's own parts, such as those of the control plane, have no spans."""


class HostTracing:
    """The spans of one host; see `actors.kernel.tracing.Tracing`. It belongs to one event loop."""

    def __init__(self, system: str, host: str, ratio: float, queue: SpanQueue) -> None:
        self.system: Final = system
        self.ratio: Final = ratio
        self.queue: Final = queue
        self._host: Final = host
        # Its own numbers: a user's program may seed those of the module.
        self._random_bits: Final = random.Random().getrandbits  # noqa: S311 - ids, no secrets

    def current(self) -> TraceContext | None:
        """See `Tracing`."""
        found = trace.get_current_span().get_span_context()
        if not found.is_valid:
            return None
        return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled)

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
    ) -> RecordedSpan:
        """See `Tracing`."""
        context = TraceContext(parent.trace_id, span_id or self._random_bits(64) or 1)
        return RecordedSpan(self.queue, name, kind, context, parent, attributes, began_at, link)

    def asked(self, future: AskFuture, origin: Ask | None) -> None:
        """See `Tracing`."""
        contract = future.contract.contract_name
        if contract.startswith(OWN_CONTRACTS):
            return
        parent = self._parent(origin)
        if parent is None or not parent.is_sampled:
            return
        attributes: dict[str, str | int] = {
            "rpc.system.name": "callboard",
            "rpc.method": contract,
            "callboard.slot": future.slot,
        }
        span = self.begin(f"ask {contract}", SpanKind.CLIENT, parent, attributes)
        future.trace = span.context.pack()
        future.add_done_callback(lambda done: span.end(_error_of(done)))

    def _parent(self, origin: Ask | None) -> TraceContext | None:
        current = self.current()
        if current is not None:
            return current
        if origin is not None and origin.trace:  # In a task whose context its actor has replaced.
            return unpack_trace(origin.trace)
        if runs_for_actor():
            return None
        trace_id = self._random_bits(128) or 1
        return TraceContext(trace_id, 0, is_chosen(trace_id, self.ratio))

    @contextlib.contextmanager
    def handling(self, ask: Ask, cell: CellPort) -> Iterator[None]:
        """See `Tracing`."""
        parent = unpack_trace(ask.trace)
        if parent is None or not parent.is_sampled:
            yield
            return
        contract = type(ask.message).contract_name
        attributes: dict[str, str | int] = {
            "rpc.system.name": "callboard",
            "rpc.method": contract,
            "callboard.actor.path": cell.path,
            "callboard.host": self._host,
        }
        if ask.step:
            attributes["callboard.step"] = ask.step
        span = self.begin(f"handle {contract}", SpanKind.SERVER, parent, attributes)
        token = current_context.attach(_as_current(span.context))
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            if not isinstance(error, GeneratorExit):  # Its process ends, in another context.
                current_context.detach(token)
            is_cancelled = isinstance(error, asyncio.CancelledError) and ask.stopped_by is not None
            is_stashed = isinstance(error, Stashed)
            span.end(ask.stopped_by if is_cancelled else None if is_stashed else error)


def _as_current(context: TraceContext) -> Any:
    found = trace.SpanContext(
        context.trace_id, context.span_id, is_remote=False, trace_flags=trace.TraceFlags(1)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(found))


def _error_of(done: "asyncio.Future[Any]") -> BaseException | None:
    return asyncio.CancelledError() if done.cancelled() else done.exception()
