"""Metrics of a host: values, publishing, and a sink that fails."""

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.actors.kernel.inspection.metric_sources import Name
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import HandlerFailed
from callboard.runtime.api.inside import host_of, processes_of
from callboard.runtime.api.start import start
from callboard.runtime.hosting.settings import Settings
from callboard.runtime.telemetry.metrics import Publisher, figures_of
from callboard.runtime.telemetry.names import METRICS, RECORDED, Kind
from callboard.runtime.telemetry.vitals import process_vitals

PAGE = Path(__file__).parents[3] / "docs" / "observing.md"


class Done(Contract, name="metrics.done"):
    pass


class Crash(Request[Done], name="metrics.crash"):
    pass


class Fragile(Actor):
    @handler
    async def crash(self, request: Crash) -> Done:
        raise ValueError("on purpose")


class MemorySink:
    """Keeps the published values."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.given: list[str] = []
        self.is_broken = False

    def gauge(self, name: str, value: float, label: str = "") -> None:
        if self.is_broken:
            raise ConnectionError("no metrics here")
        self.given.append(name)
        self.values[name] = value

    def count(self, name: str, increase: float, label: str = "") -> None:
        assert not label, "nothing that has labels is measured here"
        self.given.append(name)
        assert increase > 0.0 or name not in self.values, "nothing was counted again"
        self.values[name] = self.values.get(name, 0.0) + increase


async def crash(system: Any, ref: Any) -> None:
    with pytest.raises(HandlerFailed):
        await system.ask(Crash(), to=ref)


async def test_counters_grow_by_what_happened_and_gauges_are_what_is() -> None:
    async with start(engine="inline", hosts=1) as system:
        ref = await system.spawn(Fragile)
        host = processes_of(system)[0].host
        sink = MemorySink()
        publisher = Publisher(host, sink, 60.0)
        await publisher.publish()
        assert sink.values["callboard_restarts"] == 0.0
        assert sink.values["callboard_actors"] == 1.0
        await crash(system, ref)
        await publisher.publish()
        await publisher.publish()
        assert sink.values["callboard_restarts"] == 1.0
        assert sink.values["callboard_deaths"] == 1.0
        figures = await figures_of(host)
        for name in ("messages_handled", "frames_sent", "frames_received", "bytes_received"):
            full = f"callboard_{name}"
            assert sink.values[full] == figures[full] > 0.0
        assert set(sink.values) <= set(METRICS)
        assert "callboard_hosts_replaced" not in sink.values
        _, gauges = host_of(system).meters.instruments.read()
        assert gauges[Name("callboard_hosts_replaced")] == 0


async def test_a_sink_that_fails_is_logged_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with start(engine="inline", hosts=1) as system:
        sink = MemorySink()
        publisher = Publisher(host_of(system), sink, 60.0)
        sink.is_broken = True
        with caplog.at_level(logging.WARNING, "callboard.metrics"):
            await publisher.publish()
            await publisher.publish()
        assert len([record for record in caplog.records if "no metrics" in record.message]) == 1
        sink.is_broken = False
        await publisher.publish()
        assert "callboard_messages_handled" in sink.values


async def test_a_publisher_publishes_until_its_host_ends() -> None:
    sink = MemorySink()
    async with start(engine="inline", hosts=1) as system:
        Publisher(host_of(system), sink, 0.001).start()
        async with asyncio.timeout(5.0):
            while sink.given.count("callboard_actors") < 3:  # noqa: ASYNC110 - its period is waited for
                await asyncio.sleep(0)
    count = len(sink.given)
    await asyncio.sleep(0)
    assert len(sink.given) == count


def test_the_page_has_every_metric_and_no_other() -> None:
    shown = re.findall(r"^\| `(callboard_\w+)` \| (\w+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(shown) == {
        **{name: metric.kind.value for name, metric in METRICS.items()},
        **{name: "counter" if name.endswith("_total") else "measurements" for name in RECORDED},
    }
    assert {metric.kind for metric in METRICS.values()} == set(Kind)


def test_vitals_are_this_process_own() -> None:
    before = process_vitals()
    assert before.memory_bytes > 1_000_000
    assert process_vitals().cpu_s >= before.cpu_s > 0.0


def test_metrics_can_be_turned_off_but_not_back() -> None:
    assert Settings(metrics_s=0.0).metrics_s == 0.0
    with pytest.raises(Exception, match="metrics_s"):
        Settings(metrics_s=-1.0)
