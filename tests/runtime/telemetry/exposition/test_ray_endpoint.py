"""A whole system on Ray: one endpoint for its node, also after the serving host was killed."""

import asyncio
import os
import signal
import time
from typing import Any

import pytest
import ray
from prometheus_client.metrics_core import Metric

from callboard import Agent, System
from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.context import Context
from callboard.jobs import Job, SubTask
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import HandlerFailed, HostLost
from callboard.runtime.api.start import start
from callboard.runtime.engines.ray.environment import RAY
from callboard.runtime.telemetry.exposition.place import Place, known_targets
from tests.runtime.telemetry.exposition.pages import Shown, metrics, page, until

HANDLED = "callboard_messages_handled_total"


class Done(Contract, name="endpoint.done"):
    host: str = ""


class Count(Request[Done], name="endpoint.count"):
    fails: bool = False


class Work(Request[Done], name="endpoint.work"):
    number: int


class Worker(Agent):
    @handler
    async def work(self, request: Work, ctx: Context) -> Done:
        ctx.meter.count("works_total")
        return Done(host=ctx.host_name)


class Counter(Actor):
    @handler
    async def count(self, request: Count, ctx: Context) -> Done:
        if request.fails:
            raise ValueError("on purpose")
        return Done(host=ctx.host_name)


def _total(shown: Shown, name: str) -> float:
    return sum(value for (each, _), value in shown.items() if each == name)


def _is_whole(shown: Shown) -> bool:
    return shown["callboard_exposition_hosts", ""] == 3.0


def examples_of(metric: Metric) -> list[dict[str, str]]:
    """The labels of its exemplars."""
    return [dict(sample.exemplar.labels) for sample in metric.samples if sample.exemplar]


async def cpus_in_windows(system: System) -> float:
    """The processors of the node, from the windows of the system."""
    async with asyncio.timeout(60.0):
        while True:
            found = await system.metrics.evaluator.instant("callboard_node_cpus", time.time_ns())
            if found:
                assert len(found) == 1, "each node is measured once"
                return found[0].value
            await asyncio.sleep(0.2)


@pytest.mark.ray
@pytest.mark.soak
async def test_a_system_has_one_endpoint_that_outlives_its_hosts() -> None:
    async with start(
        hosts=2, standbys=1, name="exposed", metrics_s=0.2, metrics="memory:"
    ) as system:
        place = Place.of("exposed", RAY.metrics_group("exposed", False))  # type: ignore[misc]
        refs = [await system.spawn(Counter, name=f"counter-{n}") for n in range(4)]
        where = {ref: (await system.ask(Count(), to=ref)).host for ref in refs}
        assert set(where.values()) == {"host-1", "host-2"}
        failures = {"host-1": 0, "host-2": 0}
        for number, ref in enumerate(refs):
            for _ in range(number % 2 + 1):
                with pytest.raises(HandlerFailed):
                    await system.ask(Count(fails=True), to=ref)
                failures[where[ref]] += 1

        def deaths(shown: dict[tuple[str, str], float]) -> dict[str, float]:
            return {host: shown.get(("callboard_deaths_total", host), -1.0) for host in failures}

        await until(place, _is_whole)
        shown = await until(place, lambda shown: deaths(shown) == failures)
        assert {host for name, host in shown if name == HANDLED} == {"host-1", "host-2", "driver"}

        def fan_out(request: Work) -> list[SubTask]:
            return [SubTask(f"s{number}", Work(number=number)) for number in range(10)]

        await system.pool(Worker, size=4)
        job: Job[Work, Any] = Job(name="fan", decompose=fan_out)
        execution = system.submit(job, Work(number=0))
        await execution.result()
        await until(place, lambda shown: _total(shown, "works_total") == 10.0)
        await until(place, lambda shown: _total(shown, "callboard_agent_seconds_count") == 10.0)
        await until(place, lambda shown: shown["callboard_subtask_seconds_count", "driver"] == 10.0)
        found = [example for metric in await metrics(place) for example in examples_of(metric)]
        assert {example["execution"] for example in found} == {execution.id}
        assert {example["step"] for example in found} <= {f"s{number}" for number in range(10)}

        ours = [
            found for found in known_targets() if found["labels"]["callboard_system"] == "exposed"
        ]
        assert len(ours) == 1

        assert await cpus_in_windows(system) == float(os.cpu_count() or 0)

        # A driver leaves it to a host.
        shown = await until(place, lambda shown: place.server() != os.getpid() and _is_whole(shown))
        server, target = place.server(), place.target()
        began_s = asyncio.get_running_loop().time()
        os.kill(server, signal.SIGKILL)
        again = await until(place, lambda shown: bool(shown) and place.server() != server)
        assert asyncio.get_running_loop().time() - began_s < 5.0
        assert place.target() == target
        for key, value in shown.items():
            if key[0].endswith("_total") and key[1]:
                assert again.get(key, -1.0) >= value, key
        # The new incarnation of the killed host counts on from there.
        for ref in refs:
            async with asyncio.timeout(20.0):
                while True:
                    try:
                        await system.ask(Count(fails=True), to=ref)
                    except HandlerFailed:
                        break
                    except HostLost:
                        continue
            failures[where[ref]] += 1
        await until(place, lambda shown: deaths(shown) == failures)
    assert not await page(place)
    assert not ray.is_initialized()
