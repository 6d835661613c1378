"""A trace goes on over HTTP, and in the process that resumes what another one was killed in."""

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    reason="the extra `tracing` is not installed",
)

from opentelemetry import trace

from callboard.messages.control.principals import ALL_SCOPES
from callboard.runtime.api.remote import connect
from callboard.runtime.api.start import start
from callboard.telemetry import TracingSettings
from tests.runtime.telemetry.tracing.collector import WAIT_S, collecting
from tests.runtime.telemetry.tracing.waiting_driver import WAITING, Walked, Walker
from tests.runtime.web.routes.api_world import JOB, Ordered, api_world

MINE = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
TRACE, PARENT = f"{0xABC:032x}", f"{0xDEF:016x}"


async def test_a_submission_over_http_goes_on_in_the_trace_of_its_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("CALLBOARD_TRACING", "yes")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.removesuffix("/v1/traces"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter-2")
        async with api_world(tmp_path) as world:
            async with connect(world.url, token=await world.token(*ALL_SCOPES)) as remote:
                with trace.use_span(trace.NonRecordingSpan(MINE)):
                    handle = await remote.submit(JOB, Ordered(steps=1), id="remote")
                await handle.result(WAIT_S)
            async with world.client() as client:
                body = {"job": "making", "fields": {"steps": 1}}
                for header in ("", "no trace", "00-" + "0" * 32 + "-1-01", "x" * 4_000):
                    answer = await client.post(
                        "/v1/executions", json=body, headers={"traceparent": header}
                    )
                    assert answer.status_code == 201
                    await remote.handle(answer.json()["id"]).result(WAIT_S)
        wholes = collector.named("execution making")
        assert len(wholes) == 5
        (mine,) = [span for span in wholes if span.trace_id == TRACE]
        assert mine.parent_id == PARENT
        assert mine.attributes["callboard.execution.id"] == "remote"
        assert [span.parent_id for span in wholes if span is not mine] == [""] * 4
        assert all(headers["api-key"] == "hunter-2" for headers in collector.headers)
        assert not any(b"hunter-2" in body for body in collector.bodies)


async def test_an_execution_of_a_killed_process_goes_on_in_its_trace(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.db")
    with collecting() as collector:
        driver = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent("""
                import asyncio, sys
                from tests.runtime.telemetry.tracing.waiting_driver import main
                asyncio.run(main(*sys.argv[1:]))
            """),
            journal,
            collector.url,
            cwd=Path(__file__).parents[4],
        )
        try:
            # The first step has ended, and its spans have come; the second one hangs.
            before = await asyncio.to_thread(
                collector.wait,
                lambda spans: any(span.name == "subtask walk.step" for span in spans),
            )
        finally:
            os.kill(driver.pid, signal.SIGKILL)
            await driver.wait()
        assert not any(span.name == "execution walking" for span in before)
        Walker.hangs = False
        settings = TracingSettings(endpoint=collector.url, delay_s=0.01)
        async with start(engine="inline", hosts=1, journal=journal, tracing=settings) as system:
            await system.pool(Walker, size=1)
            handle = await system.resume(WAITING, "walk-1")
            assert await handle.result(WAIT_S) == [Walked(number=0), Walked(number=1)]
        (whole,) = collector.named("execution walking")
        assert (whole.trace_id, whole.parent_id) == (TRACE, PARENT)
        assert {span.trace_id for span in collector.spans} == {TRACE}
        ended = collector.named("subtask walk.step")
        assert [span.parent_id for span in ended] == [whole.span_id] * 2
        assert whole.began_ns <= min(span.began_ns for span in collector.spans)
