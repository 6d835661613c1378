"""Traces of a running system, as a collector gets them: what belongs to what, and what fails."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from callboard import Agent, Context, Contract, Job, Request, SubTask, System, handler
from callboard.actors.kernel.inspection.metric_sources import Name
from callboard.jobs import RetryPolicy
from callboard.messages.core.errors import CallboardError, DeadlineExceeded
from callboard.messages.core.trace_context import context_of_execution
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.start import start
from callboard.telemetry import TracingSettings

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    reason="the extra `tracing` is not installed",
)

from opentelemetry import trace

from tests.runtime.telemetry.tracing.collector import (
    CollectedSpan,
    Collector,
    collecting,
)

SECRET = "hunter-2"
INTERNAL, SERVER, CLIENT = 1, 2, 3


class Said(Contract, name="traced.said"):
    text: str


class Say(Request[Said], name="traced.say"):
    text: str


class SayOn(Request[Said], name="traced.say_on"):
    text: str


class SayInThread(Request[Said], name="traced.say_in_thread"):
    text: str


class Fail(Request[Said], name="traced.fail"):
    text: str


class Hang(Request[Said], name="traced.hang"):
    pass


class Stumble(Request[Said], name="traced.stumble"):
    text: str


class Speaker(Agent):
    reentrant: ClassVar[bool] = True
    stumbled: ClassVar[set[str]] = set()
    seen: ClassVar[list[int]] = []

    @handler
    async def say(self, request: Say) -> Said:
        Speaker.seen.append(trace.get_current_span().get_span_context().span_id)
        return Said(text=request.text)

    @handler
    async def say_on(self, request: SayOn, ctx: Context) -> Said:
        first = await ctx.ask(Say(text=request.text))
        return await asyncio.ensure_future(ctx.ask(Say(text=first.text)))

    @handler
    def say_in_thread(self, request: SayInThread) -> Said:
        Speaker.seen.append(trace.get_current_span().get_span_context().span_id)
        return Said(text=request.text)

    @handler
    async def fail(self, request: Fail) -> Said:
        raise ValueError(request.text)

    @handler
    async def hang(self, request: Hang) -> Said:
        await asyncio.Event().wait()
        return Said(text="never")

    @handler
    async def stumble(self, request: Stumble) -> Said:
        if request.text not in Speaker.stumbled:
            Speaker.stumbled.add(request.text)
            raise ConnectionError(SECRET)
        return Said(text=request.text)


@pytest.fixture
def collector() -> Iterator[Collector]:
    Speaker.seen, Speaker.stumbled = [], set()
    with collecting() as made:
        yield made


def tracing_to(collector: Collector, **more: Any) -> TracingSettings:
    return TracingSettings(endpoint=collector.url, delay_s=0.01, **more)


@contextlib.asynccontextmanager
async def traced_system(collector: Collector, **more: Any) -> AsyncIterator[System]:
    options: dict[str, Any] = {"journal": "off", "hosts": 2, "tracing": tracing_to(collector)}
    async with start(engine="inline", **{**options, **more}) as system:
        await system.pool(Speaker, size=2)
        yield system


def is_below(child: CollectedSpan, parent: CollectedSpan) -> bool:
    return (child.parent_id, child.trace_id) == (parent.span_id, parent.trace_id)


async def test_an_ask_has_a_span_at_both_ends_and_what_the_handler_asks_is_below(
    collector: Collector,
) -> None:
    async with traced_system(collector) as system:
        await system.ask(SayOn(text="on"))
    names = [span.name for span in collector.spans]
    assert sorted(names) == sorted(
        ["ask traced.say_on", "handle traced.say_on"] + ["ask traced.say", "handle traced.say"] * 2
    )
    (asked,) = collector.named("ask traced.say_on")
    (handled,) = collector.named("handle traced.say_on")
    assert (asked.parent_id, asked.kind, handled.kind) == ("", CLIENT, SERVER)
    assert is_below(handled, asked)
    inner = collector.named("ask traced.say")
    assert all(is_below(each, handled) for each in inner)
    for each in collector.named("handle traced.say"):
        assert any(is_below(each, one) for one in inner)
    assert {span.trace_id for span in collector.spans} == {asked.trace_id}
    assert all(span.began_ns <= span.ended_ns for span in collector.spans)
    assert handled.attributes["rpc.system.name"] == "callboard"
    assert handled.attributes["rpc.method"] == "traced.say_on"
    assert handled.resource["service.name"] == "callboard"
    assert handled.resource["callboard.host"] == handled.attributes["callboard.host"]


async def test_a_handler_finds_its_span_as_the_current_one_also_in_a_thread(
    collector: Collector,
) -> None:
    async with traced_system(collector) as system:
        for request in (Say(text="a"), SayInThread(text="b")):
            await host_of(system).ask(None, request)
    handled = [span for span in collector.spans if span.name.startswith("handle")]
    assert [f"{seen:016x}" for seen in Speaker.seen] == [span.span_id for span in handled]


async def test_a_failure_is_a_status_without_the_words_of_the_error(collector: Collector) -> None:
    async with traced_system(collector) as system:
        with pytest.raises(CallboardError) as failed:
            await system.ask(Fail(text=SECRET))
        with pytest.raises(DeadlineExceeded):
            await system.ask(Hang(), timeout_s=0.05)
    (asked,) = collector.named("ask traced.fail")
    (handled,) = collector.named("handle traced.fail")
    assert asked.is_error
    assert asked.attributes["error.type"] == failed.value.code
    assert handled.is_error
    assert handled.attributes["error.type"] == "ValueError"
    for span in collector.named("ask traced.hang") + collector.named("handle traced.hang"):
        assert span.is_error
        assert span.attributes["error.type"] == DeadlineExceeded.code
    assert len(collector.named("handle traced.hang")) == 1
    assert not any(SECRET.encode() in body for body in collector.bodies)
    assert not any(span.message for span in collector.spans)


AGAIN = RetryPolicy(attempts_max=3, backoff_min_s=0.001, backoff_max_s=0.001)


def steps_of(request: Say) -> list[SubTask]:
    return [
        SubTask("plain", Say(text=SECRET)),
        SubTask("later", Stumble(text=SECRET), needs=("plain",), retry=AGAIN),
    ]


JOB: Job[Say, list[Said]] = Job(
    name="speaking",
    decompose=steps_of,
)


async def test_an_execution_has_sub_tasks_with_attempts_and_their_handlers(
    collector: Collector,
) -> None:
    async with traced_system(collector, name="speakers") as system:
        await system.submit(JOB, Say(text=""), execution_id="e/1").result()
    (whole,) = collector.named("execution speaking")
    expected = context_of_execution("speakers", "e/1", 1.0)
    assert (whole.trace_id, whole.parent_id) == (f"{expected.trace_id:032x}", "")
    assert whole.attributes["callboard.execution.id"] == "e/1"
    (plain,) = collector.named("subtask traced.say")
    (later,) = collector.named("subtask traced.stumble")
    assert is_below(plain, whole)
    assert is_below(later, whole)
    assert whole.began_ns <= plain.began_ns <= plain.ended_ns <= later.began_ns <= whole.ended_ns
    first, second = sorted(
        collector.named("attempt traced.stumble"),
        key=lambda span: span.attributes["callboard.attempt"],
    )
    assert is_below(first, later)
    assert is_below(second, later)
    assert (first.is_error, second.is_error, later.is_error) == (True, False, False)
    assert (first.links, second.links) == ((), (first.span_id,))
    handled = collector.named("handle traced.stumble")
    assert {span.parent_id for span in handled} == {first.span_id, second.span_id}
    assert {span.attributes["callboard.step"] for span in handled} == {"e%2F1/later"}
    assert {span.trace_id for span in collector.spans} == {whole.trace_id}
    assert not any(SECRET.encode() in body for body in collector.bodies)


async def test_a_span_of_the_driver_is_continued_and_its_decision_counts(
    collector: Collector,
) -> None:
    async with traced_system(collector) as system:
        for flag in (trace.TraceFlags(1), trace.TraceFlags(0)):
            mine = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=flag)
            with trace.use_span(trace.NonRecordingSpan(mine)):
                await system.ask(Say(text="mine"))
                await system.submit(JOB, Say(text="mine")).result()
    assert {span.trace_id for span in collector.spans} == {f"{0xABC:032x}"}
    (asked,) = collector.named("ask traced.say")
    (whole,) = collector.named("execution speaking")
    assert asked.parent_id == whole.parent_id == f"{0xDEF:016x}"


async def test_of_a_share_of_zero_nothing_is_recorded_and_no_message_carries_a_trace(
    collector: Collector,
) -> None:
    async with traced_system(collector, tracing=tracing_to(collector, ratio=0.0)) as system:
        await system.ask(SayOn(text="a"))
        await system.submit(JOB, Say(text="")).result()
        assert Speaker.seen[0] == 0
    assert collector.spans == []


async def test_an_actor_begins_no_trace(collector: Collector) -> None:
    async with traced_system(collector) as system:
        host = host_of(system)
        await host.start_task(_ask_in_background(system))
    assert collector.spans == []


async def _ask_in_background(system: System) -> None:
    await system.ask(Say(text="from a part of the host"))


async def test_what_finds_no_room_is_dropped_and_counted_and_the_work_goes_on(
    collector: Collector,
) -> None:
    collector.answers.clear()
    tracing = tracing_to(collector, queue_spans=4, batch_spans=2)
    async with traced_system(collector, tracing=tracing, hosts=1) as system:
        for number in range(50):
            await system.ask(Say(text=str(number)))
        counts = host_of(system).meters.instruments.read().counts
        assert counts[Name("callboard_trace_spans", "dropped")] >= 40
        began_s = asyncio.get_running_loop().time()
    # The collector hangs: the end waits for no longer than it says.
    assert asyncio.get_running_loop().time() - began_s < 6.0


async def test_a_collector_that_refuses_is_counted(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    async with traced_system(collector, hosts=1) as system:
        await system.ask(Say(text="a"))
        read = host_of(system).meters.instruments.read
        while not read().counts[Name("callboard_trace_spans", "failed")]:
            await asyncio.to_thread(threading.Event().wait, 0.01)
    assert "could not be sent" in caplog.text


async def test_a_resumed_execution_goes_on_in_the_same_trace(
    collector: Collector, tmp_path: Path
) -> None:
    journal = str(tmp_path / "journal.db")
    wait: Job[Say, list[Said]] = Job(name="waiting", decompose=lambda _: [SubTask("x", Hang())])
    mine = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    async with traced_system(collector, journal=journal) as system:
        with trace.use_span(trace.NonRecordingSpan(mine)):
            handle = system.submit(wait, Say(text=""), execution_id="e-1")
        async for _ in handle.updates():
            if handle.state().metrics.running:
                break
    assert collector.named("execution waiting") == []  # It has not ended.
    done: Job[Say, list[Said]] = Job(name="waiting", decompose=lambda _: [], timeout_s=0.2)
    async with traced_system(collector, journal=journal) as system:
        handle = await system.resume(done, "e-1")
        with pytest.raises(CallboardError):
            await handle.result()
    (whole,) = collector.named("execution waiting")
    assert (whole.trace_id, whole.parent_id) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert whole.is_error
    attempts = collector.named("attempt traced.hang")
    (ended,) = collector.named("subtask traced.hang")
    assert len(attempts) == 2
    assert {span.parent_id for span in attempts} == {ended.span_id}
    assert {span.trace_id for span in collector.spans} == {whole.trace_id}
