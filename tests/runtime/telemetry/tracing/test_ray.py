"""One trace over three processes on a real Ray, and what a killed host takes with it."""

import asyncio
import os
import signal
from typing import Any

import pytest

from callboard import Agent, Context, Contract, Ref, Request, handler
from callboard.actors.kernel.inspection.metric_sources import Name
from callboard.messages.core.errors import HostLost
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.start import start
from callboard.telemetry import TracingSettings

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    reason="the extra `tracing` is not installed",
)

from tests.runtime.telemetry.tracing.collector import collecting

pytestmark = pytest.mark.ray


class Passed(Contract):
    pids: tuple[int, ...]


class Pass(Request[Passed]):
    on: tuple[Ref[Any], ...] = ()
    dies: bool = False


class Passer(Agent):
    @handler
    async def passes(self, request: Pass, ctx: Context) -> Passed:
        if request.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        if not request.on:
            return Passed(pids=(os.getpid(),))
        rest = await ctx.ask(Pass(on=request.on[1:]), request.on[0])
        return Passed(pids=(os.getpid(), *rest.pids))


async def test_a_trace_goes_through_two_hosts_and_a_lost_one_is_counted() -> None:
    with collecting() as collector:
        tracing = TracingSettings(endpoint=collector.url, delay_s=0.05)
        async with start(
            engine="ray", hosts=2, standbys=0, name="traced", journal="off", tracing=tracing
        ) as system:
            first = await system.spawn(Passer, host=1)
            second = await system.spawn(Passer, host=2)
            passed = await first.ask(Pass(on=(second,)), timeout_s=30.0)
            assert len({os.getpid(), *passed.pids}) == 3
            spans = await asyncio.to_thread(collector.wait, lambda spans: len(spans) == 4)
            with pytest.raises(HostLost):
                await second.ask(Pass(dies=True), timeout_s=30.0)
            counts = host_of(system).meters.instruments.read().counts
            assert counts[Name("callboard_trace_spans", "lost")] == 1
        by_id = {span.span_id: span for span in spans}
        (top,) = [span for span in spans if not span.parent_id]
        (handled,) = [span for span in spans if span.parent_id == top.span_id]
        (asked,) = [span for span in spans if span.parent_id == handled.span_id]
        (last,) = [span for span in spans if span.parent_id == asked.span_id]
        assert len(by_id) == 4
        assert {span.trace_id for span in spans} == {top.trace_id}
        assert [span.resource["callboard.host"] for span in (handled, asked, last)] == [
            "host-1",
            "host-1",
            "host-2",
        ]
        assert len({span.resource["service.instance.id"] for span in spans}) == 3
        assert {span.resource["service.name"] for span in spans} == {"traced"}
