"""Contexts of traces: their texts and bytes, ids that follow from names, and envelopes without."""

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.core.frame import FrameHeader, FrameWriter, Kind, decode_frame
from callboard.messages.core.trace_context import (
    TRACE_BYTES,
    TraceContext,
    context_of_execution,
    derived_span_id,
    is_chosen,
    parse_traceparent,
    unpack_trace,
)
from tests.thoroughness import examples

CONTEXTS = st.builds(
    TraceContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans()
)
EXAMPLE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@given(context=CONTEXTS)
def test_a_context_comes_back_from_its_text_and_from_its_bytes(context: TraceContext) -> None:
    assert parse_traceparent(context.traceparent) == context
    assert unpack_trace(context.pack()) == context
    assert len(context.pack()) == TRACE_BYTES


@given(text=st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.*"))
@settings(max_examples=examples(400))
def test_any_text_is_a_context_or_none(text: str) -> None:
    found = parse_traceparent(text)
    if found is not None:
        assert found.trace_id
        assert found.span_id
        assert text.strip()[3:52] == found.traceparent[3:52]


@given(data=st.binary(max_size=40))
def test_any_bytes_are_a_context_or_none(data: bytes) -> None:
    found = unpack_trace(data)
    assert found is None or found.pack()[:24] == data[:24]


def test_headers_of_other_forms_are_none() -> None:
    assert parse_traceparent(EXAMPLE) is not None
    for text in (
        "",
        EXAMPLE.upper(),
        EXAMPLE + "-more",
        EXAMPLE.replace("00-4", "ff-4"),
        EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        EXAMPLE.replace("00f067aa0ba902b7", "0" * 16),
        EXAMPLE[:-1],
        "01-" + EXAMPLE[3:] + "-" + "x" * 300,
    ):
        assert parse_traceparent(text) is None, text


def test_a_later_version_counts_as_far_as_it_is_known() -> None:
    later = parse_traceparent("cc-" + EXAMPLE[3:] + "-what-comes")
    assert later == parse_traceparent(EXAMPLE)


@given(system=st.text(), name=st.text(), other=st.text())
def test_ids_follow_from_names_and_from_nothing_else(system: str, name: str, other: str) -> None:
    context = context_of_execution(system, name, 1.0)
    assert context == context_of_execution(system, name, 1.0)
    assert context.trace_id > 0
    assert context.is_sampled
    assert (derived_span_id(system, name) == derived_span_id(system, other)) == (name == other)
    assert derived_span_id(system + name, "") != derived_span_id(system, name) or not name


@given(trace_id=st.integers(1, 2**128 - 1), ratio=st.floats(0.0, 1.0))
def test_the_ratio_decides_as_that_of_opentelemetry(trace_id: int, ratio: float) -> None:
    sampling = __import__("opentelemetry.sdk.trace.sampling", fromlist=["_"])
    theirs = sampling.TraceIdRatioBased(ratio).should_sample(None, trace_id, "a span")
    assert is_chosen(trace_id, ratio) == theirs.decision.is_sampled()


@given(
    kind=st.sampled_from((Kind.TELL, Kind.ASK, Kind.REPLY)),
    step=st.text(max_size=20),
    window=st.integers(0, 100),
    value=st.integers(0, 5),
    buffers=st.lists(st.binary(max_size=9), max_size=2).map(tuple),
)
@settings(max_examples=examples(200))
def test_an_envelope_without_a_trace_is_what_it_was_before_there_were_traces(
    kind: int, step: str, window: int, value: int, buffers: tuple[bytes, ...]
) -> None:
    writer = FrameWriter()
    writer.add(kind, 7, 8, -1, b"body", 9, buffers, step=step, window=window, value=value)
    header = FrameHeader(1, 1, 2, 1, 1, 0, 0)
    # The rows of the release before, field for field.
    row: tuple[object, ...] = (kind, 7, 8, -1, b"body", 9)
    if window:
        row += (buffers, -1, step, value, window)
    elif step or value:
        row += (buffers, -1, step, value) if value else (buffers, -1, step)
    elif buffers:
        row += (buffers, -1)
    data = writer.finish(header)
    assert msgpack.packb(row) in data
    assert decode_frame(data).envelopes[0].trace == b""
