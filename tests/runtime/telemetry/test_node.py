"""The metrics of a node: taken from this machine, once for all of its hosts."""

import asyncio
import contextlib

import psutil

from callboard.actors.kernel.inspection.metric_sources import Name, Reading
from callboard.actors.metrics.series import MetricKind
from callboard.runtime.telemetry.names import METRICS, NODE, Kind, exposed_name
from callboard.runtime.telemetry.node import read_node
from callboard.runtime.telemetry.node_points import NodeSource


def test_the_figures_are_those_of_this_machine() -> None:
    counts, gauges = read_node()
    for values, kind in ((counts, Kind.COUNTER), (gauges, Kind.GAUGE)):
        for name, value in values.items():
            assert METRICS[name.metric].kind is kind
            assert bool(METRICS[name.metric].label) == bool(name.label)
            assert value >= 0.0
    assert {name.metric for name in (*counts, *gauges)} <= set(NODE)
    assert gauges[Name("callboard_node_cpus")] == psutil.cpu_count()
    assert gauges[Name("callboard_node_memory_bytes", "total")] == psutil.virtual_memory().total
    later, _ = read_node()
    assert all(later[name] >= count for name, count in counts.items())


async def test_points_come_while_the_host_serves_and_counters_are_increases() -> None:
    readings, serving = iter(range(100)), True

    def read() -> Reading:
        count = float(next(readings))
        return Reading(
            {Name("callboard_node_cpu_seconds", "user"): 10.0 + count},
            {Name("callboard_node_cpus"): 2.0},
        )

    times = iter(range(1, 1_000))
    source = NodeSource("n1", lambda: serving, every_s=0.001, read=read, now_ns=lambda: next(times))
    found = []
    async with asyncio.timeout(10.0), contextlib.aclosing(source.columns()) as columns:  # type: ignore[type-var]
        async for each in columns:
            found.append(each)
            if len(found) == 3:
                break
    first, *more = found
    assert [key.name for key in first.series] == ["callboard_node_cpus"]
    for each in more:
        counter, gauge = each.series
        assert (counter.kind, counter.name) == (
            MetricKind.COUNTER,
            exposed_name("callboard_node_cpu_seconds"),
        )
        assert dict(counter.tags) == {"mode": "user", "instance": "n1"}
        assert each.values.tolist() == [1.0, 2.0]
        assert gauge.name == "callboard_node_cpus"
