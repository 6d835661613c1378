"""The trace of the calling code, for those that send it on: in a header, or with a submission."""

import sys

from callboard.messages.core.trace_context import TraceContext

__all__ = ["current_traceparent"]


def current_traceparent() -> str:
    """The `traceparent` of OpenTelemetry's current span; empty without one.

    A program that has not imported OpenTelemetry has none, and does not import it here.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    found = trace.get_current_span().get_span_context()
    if not found.is_valid:
        return ""
    return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled).traceparent
