"""The context of a trace: what a message carries, so that its spans belong to one trace.

The ids and their texts are those of the W3C recommendation "Trace Context", level 1. Envelopes have
a packed form of 25 bytes. The recommendation's second header, `tracestate`, is not carried.

An execution has ids that follow from its own id. So an execution that another process resumes goes
on in the same trace, whatever the first process had no time to send.
"""

import re
from hashlib import blake2b
from typing import Final, NamedTuple

__all__ = [
    "TRACE_BYTES",
    "TraceContext",
    "context_of_execution",
    "derived_span_id",
    "is_chosen",
    "parse_traceparent",
    "unpack_trace",
]

TRACE_BYTES: Final = 25
"""The packed form: 16 bytes of the trace, 8 of the span, and the flags."""
SAMPLED: Final = 1
VERSION: Final = "00"
INVALID_VERSION: Final = "ff"
TEXT_CHARS_MAX: Final = 256
"""Later versions of the header may be longer than 55 characters, but not without bound."""
_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LOW_64: Final = 2**64 - 1


class TraceContext(NamedTuple):
    """A span, as others name it: the parent of what they begin."""

    trace_id: int
    """128 bits, never 0."""
    span_id: int
    """64 bits; 0 only for the beginning of a trace, which has no parent."""
    is_sampled: bool = True
    """Whether the spans of this trace are recorded."""

    def pack(self) -> bytes:
        """The form in envelopes."""
        ids = self.trace_id.to_bytes(16, "big") + self.span_id.to_bytes(8, "big")
        return ids + (b"\x01" if self.is_sampled else b"\x00")

    @property
    def traceparent(self) -> str:
        """The form in HTTP headers."""
        flags = SAMPLED if self.is_sampled else 0
        return f"{VERSION}-{self.trace_id:032x}-{self.span_id:016x}-{flags:02x}"


def unpack_trace(packed: bytes) -> TraceContext | None:
    """The context of an envelope; None for bytes that are none."""
    if len(packed) != TRACE_BYTES:
        return None
    trace_id, span_id = int.from_bytes(packed[:16], "big"), int.from_bytes(packed[16:24], "big")
    return TraceContext(trace_id, span_id, bool(packed[24] & SAMPLED)) if trace_id else None


def parse_traceparent(text: str) -> TraceContext | None:
    """The context of a `traceparent` header; None for a text that is none.

    A header of a later version counts as far as this version knows it, as the recommendation says.
    """
    found = _TRACEPARENT.fullmatch(text.strip()) if len(text) <= TEXT_CHARS_MAX else None
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    trace_id, span_id = int(trace, 16), int(span, 16)
    if version == INVALID_VERSION or (version == VERSION and rest) or not (trace_id and span_id):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & SAMPLED))


def is_chosen(trace_id: int, ratio: float) -> bool:
    """Whether a trace that begins here is recorded, for a share of all traces from 0 to 1.

    The lower half of the id decides, as in OpenTelemetry's `TraceIdRatioBased`: whoever knows the
    id comes to the same decision.
    """
    return (trace_id & _LOW_64) < round(ratio * 2**64)


def context_of_execution(system: str, execution_id: str, ratio: float) -> TraceContext:
    """The beginning of the trace of an execution that continues no other trace."""
    trace_id = int.from_bytes(_digest(16, system, execution_id), "big") or 1
    return TraceContext(trace_id, 0, is_chosen(trace_id, ratio))


def derived_span_id(*names: str) -> int:
    """The span id of an execution, or of one of its sub-tasks: the same in every process."""
    return int.from_bytes(_digest(8, *names), "big") or 1


def _digest(size_bytes: int, *names: str) -> bytes:
    found = blake2b(digest_size=size_bytes)
    for name in names:
        encoded = name.encode("utf-8", "surrogatepass")
        found.update(len(encoded).to_bytes(4, "big") + encoded)
    return found.digest()
