"""Sends the ended spans of one process to a collector, by OTLP over HTTP, in a thread of its own.

The exporter is OpenTelemetry's: it knows the standard's variables, and repeats a request within its
timeout (`OTEL_EXPORTER_OTLP_TIMEOUT`, 10 s). A request that fails then is counted, not kept.
"""

import logging
import platform
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .settings import TracingSettings
from .spans import RecordedSpan, SpanQueue

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["SpanSender", "resource_of"]

LOGGER: Final = logging.getLogger("callboard.tracing")
UNKNOWN_SERVICE: Final = "unknown_service"


def resource_of(system: str, host: str, instance: str) -> "Resource":
    """What the spans of a host have in common; `OTEL_RESOURCE_ATTRIBUTES` may add to it."""
    from opentelemetry.sdk.resources import Resource

    found = Resource.create(
        {
            "service.instance.id": instance,
            "host.name": platform.node(),
            "callboard.system": system,
            "callboard.host": host,
        }
    )
    if str(found.attributes.get("service.name", "")).startswith(UNKNOWN_SERVICE):
        found = found.merge(Resource({"service.name": system}))
    return found


class SpanSender:
    """The thread that sends. It starts with the first span."""

    def __init__(
        self,
        queue: SpanQueue,
        settings: TracingSettings,
        make_resource: Callable[[], "Resource"],
    ) -> None:
        self._queue: Final = queue
        self._settings: Final = settings
        self._make_resource: Final = make_resource
        self._exporter: SpanExporter | None = None
        self._make_readable: Callable[[RecordedSpan], ReadableSpan] | None = None
        self._ending: Final = threading.Event()
        self._ended: Final = threading.Event()
        self._failed_before = False
        self.sent = 0
        """Spans that the collector has taken."""
        self.failed = 0
        """Spans that it has not taken, or that were left at the end."""
        self.under_way = 0
        """Spans in the request under way."""

    def start(self) -> None:
        """Begin to send."""
        threading.Thread(target=self._run, name="callboard-tracing", daemon=True).start()

    def stop(self, timeout_s: float) -> None:
        """Send what waits, for so long at most; what is left then is counted. It blocks.

        A collector that does not answer delays nobody for longer.
        """
        self._ending.set()
        if not self._ended.wait(timeout_s) and self._exporter is not None:
            self._exporter.shutdown()  # It gives up waiting for the next repetition.
        self.failed += len(self._queue.take(self._settings.queue_spans))

    def _run(self) -> None:
        try:
            self._open()
            while not self._ending.wait(self._pause_s()):
                self._send_batch()
            while self._send_batch():
                pass
        except Exception:
            LOGGER.exception("The sending of traces has ended; spans are dropped from now on.")
        finally:
            self._ended.set()

    def _pause_s(self) -> float:
        # A full batch does not wait, but leaves the processor to others for a moment.
        is_full = len(self._queue) >= self._settings.batch_spans
        return 0.001 if is_full else self._settings.delay_s

    def _open(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        self._exporter = OTLPSpanExporter(endpoint=self._settings.endpoint or None)
        self._make_readable = _converter(self._make_resource())

    def _send_batch(self) -> bool:
        """Send the oldest spans; False if there are none, or there is no use in more."""
        spans = self._queue.take(self._settings.batch_spans)
        if not spans:
            return False
        assert self._exporter is not None
        assert self._make_readable is not None
        self.under_way = len(spans)
        began_s = time.monotonic()
        is_taken = self._export([self._make_readable(span) for span in spans])
        self.under_way = 0
        if is_taken:
            self.sent += len(spans)
        else:
            self.failed += len(spans)
            if not self._failed_before:
                LOGGER.warning(
                    "%d spans could not be sent within %.1f s; the next ones are tried. Is a "
                    "collector there? OTEL_EXPORTER_OTLP_ENDPOINT names it.",
                    len(spans), time.monotonic() - began_s,
                )  # fmt: skip
        self._failed_before = not is_taken
        return is_taken or not self._ending.is_set()

    def _export(self, spans: "Sequence[ReadableSpan]") -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        assert self._exporter is not None
        try:
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 - a broken exporter must not end the thread
            LOGGER.debug("the exporter has raised %r", error)
            return False


def _converter(resource: "Resource") -> "Callable[[RecordedSpan], ReadableSpan]":
    """The function from a span to that of OpenTelemetry's SDK."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace.status import Status, StatusCode

    scope = InstrumentationScope("callboard")
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    unset = Status(StatusCode.UNSET)

    def context_of(found: Any) -> trace.SpanContext:
        return trace.SpanContext(found.trace_id, found.span_id, is_remote=False, trace_flags=flags)

    def readable(span: RecordedSpan) -> ReadableSpan:
        attributes = dict(span.attributes)
        if span.error_type:
            attributes["error.type"] = span.error_type
        return ReadableSpan(
            name=span.name,
            context=context_of(span.context),
            parent=context_of(span.parent) if span.parent.span_id else None,
            resource=resource,
            attributes=attributes,
            links=() if span.link is None else (trace.Link(context_of(span.link)),),
            kind=trace.SpanKind[span.kind.value],
            status=Status(StatusCode.ERROR) if span.error_type else unset,
            start_time=span.began_ns,
            end_time=span.ended_ns,
            instrumentation_scope=scope,
        )

    return readable
