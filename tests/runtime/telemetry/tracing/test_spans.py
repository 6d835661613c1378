"""The queue of ended spans: it is bounded, in order, and each span is counted once."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.actors.kernel.tracing import SpanKind
from callboard.messages.core.errors import DeadlineExceeded, HostLost
from callboard.messages.core.trace_context import TraceContext
from callboard.runtime.telemetry.tracing.spans import RecordedSpan, SpanQueue
from tests.thoroughness import examples

PARENT = TraceContext(1, 2)


def span_in(queue: SpanQueue, number: int = 1, kind: SpanKind = SpanKind.CLIENT) -> RecordedSpan:
    return RecordedSpan(queue, str(number), kind, TraceContext(1, number), PARENT, {})


@given(
    room=st.integers(1, 10),
    steps=st.lists(st.tuples(st.sampled_from(("add", "take")), st.integers(1, 12)), max_size=30),
)
@settings(max_examples=examples(200))
def test_every_span_is_taken_in_order_or_dropped(room: int, steps: list[tuple[str, int]]) -> None:
    queue, dropped, number = SpanQueue(room), 0, 0
    model: list[int] = []
    taken: list[int] = []
    for what, count in steps:
        if what == "take":
            got = [int(span.name) for span in queue.take(count)]
            assert got == model[:count]
            del model[:count]
            taken += got
            continue
        for _ in range(count):
            number += 1
            span_in(queue, number).end()
            if len(model) < room:
                model.append(number)
            else:
                dropped += 1
    assert (queue.recorded, queue.dropped, len(queue)) == (number, dropped, len(model))
    assert taken == sorted(taken)
    assert queue.recorded == len(taken) + queue.dropped + len(queue)


def test_a_span_ends_once_and_keeps_the_kind_of_its_error_only() -> None:
    queue = SpanQueue(10)
    for error, kind in (
        (None, ""),
        (ValueError("hunter-2"), "ValueError"),
        (DeadlineExceeded("hunter-2"), DeadlineExceeded.code),
        (asyncio.CancelledError("hunter-2"), "cancelled"),
    ):
        span = span_in(queue)
        span.end(error)
        span.end(KeyError())
        assert span.error_type == kind
        assert span.ended_ns >= span.began_ns
    assert queue.recorded == 4


def test_a_request_to_a_lost_host_is_counted_if_its_handler_may_have_run() -> None:
    queue = SpanQueue(10)
    for kind, may_have_run in (
        (SpanKind.CLIENT, True),
        (SpanKind.CLIENT, False),
        (SpanKind.SERVER, True),
    ):
        span_in(queue, kind=kind).end(HostLost("gone", may_have_run=may_have_run))
    assert queue.lost == 1
