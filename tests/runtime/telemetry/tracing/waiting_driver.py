"""A driver whose execution never ends: the tests kill it, and resume what it has begun."""

import asyncio
from typing import ClassVar

from opentelemetry import trace

from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.runtime.api.start import start
from callboard.telemetry import TracingSettings

__all__ = ["WAITING", "Steps", "Walk", "Walked", "Walker", "main"]


class Walked(Contract, name="walk.walked"):
    number: int


class Walk(Request[Walked], name="walk.step"):
    number: int


class Steps(Request[Walked], name="walk.steps"):
    pass


class Walker(Agent):
    hangs: ClassVar[bool] = True

    @handler
    async def walk(self, request: Walk) -> Walked:
        if request.number and Walker.hangs:
            await asyncio.Event().wait()
        return Walked(number=request.number)


WAITING: Job[Steps, list[Walked]] = Job(
    name="walking",
    decompose=lambda _: [
        SubTask("first", Walk(number=0)),
        SubTask("second", Walk(number=1), needs=("first",)),
    ],
)


async def main(journal: str, collector: str) -> None:
    """Run until it is killed, in the trace of somebody else."""
    tracing = TracingSettings(endpoint=collector, delay_s=0.01)
    mine = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    async with start(engine="inline", hosts=1, journal=journal, tracing=tracing) as system:
        await system.pool(Walker, size=1)
        with trace.use_span(trace.NonRecordingSpan(mine)):
            handle = system.submit(WAITING, Steps(), execution_id="walk-1")
        await handle.result()
