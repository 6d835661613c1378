"""All sources of a hub in a system on the inline engine: what happens there reaches a client."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from callboard import Actor, Contract, Request, handler, start
from callboard.actors.alerts.files import AlertFiles
from callboard.actors.alerts.rules import AlertRule, RuleGroup
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.props import props
from callboard.actors.metrics.aggregation.actor import MetricsAggregator
from callboard.actors.metrics.aggregation.storage import RemoteStorage
from callboard.actors.metrics.aggregation.store_actor import MetricsStoreActor
from callboard.actors.metrics.points import AppendPoints
from callboard.actors.metrics.ports import Sample
from callboard.actors.metrics.rows import WindowRows
from callboard.actors.pipelines.running.actor import PipelineActor
from callboard.actors.pipelines.running.sinks import TableSink
from callboard.actors.pipelines.running.sources import MemorySource
from callboard.actors.pipelines.spec import DataPipeline, PipelineStage
from callboard.actors.streaming.actor import HubParts, StreamHub
from callboard.actors.streaming.hub import Hub
from callboard.actors.streaming.messages import StreamEvent
from callboard.actors.streaming.ports import SessionHub
from callboard.actors.streaming.protocol import ErrorCode
from callboard.messages.control.spec import Restart
from callboard.runtime.api.alerts import start_alerts
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.metrics import SystemMetrics
from callboard.runtime.channels.sources import sources_of
from callboard.runtime.channels.windows import MetricsSource
from callboard.runtime.stores.choose import metrics_storage
from callboard.runtime.stores.memory import MemoryReadModelStore
from tests.actors.metrics.aggregation.faulty_storage import SECOND_NS, Clock, batch_of
from tests.actors.streaming.clients import Client, Tokens, settled
from tests.runtime.delivery.http_server import until

HUBS: list[Hub] = []


class Local:
    """The `Edge` of a hub in this process."""

    async def start(self, hub: SessionHub) -> str:
        assert isinstance(hub, Hub)
        HUBS.append(hub)
        return ""

    async def stop(self) -> None: ...


def parts(ctx: Context) -> HubParts:
    return HubParts(Tokens(), sources_of(ctx), edge=Local())


class Fail(Request[Contract], name="test.fail"):
    """Make the actor fail."""


class Fragile(Actor):
    """Fails."""

    @handler
    async def fail(self, request: Fail) -> Contract:
        raise ValueError("as asked")


class Rising:
    """Every expression is true."""

    def check(self, expression: str) -> None: ...

    async def instant(self, expression: str, at_ns: int) -> tuple[Sample, ...]:
        return (Sample((("host", "a"),), 7.0),)


def rising(ctx: Context) -> Any:
    return Rising()


class Watcher(Client):
    """A client that keeps snapshots and payloads."""

    snapshots: ClassVar[dict[str, Any]] = {}

    async def watch(self, *channels: str) -> None:
        for channel in channels:
            reply = await self.subscribe(channel)
            assert reply["reply"] == "Subscribed", reply
            self.snapshots[channel] = json.loads(reply["data"] or "null")

    def payloads(self, channel: str) -> list[Any]:
        self.read()
        found = (StreamEvent.model_validate(each) for each in self.data.get(channel, ()))
        return [event.payload for event in found]

    def state(self, channel: str) -> dict[str, Any]:
        state = dict(self.snapshots[channel]["values"])
        for payload in self.payloads(channel):
            state[payload["key"]] = payload["value"]
        return {key: value for key, value in state.items() if value is not None}


async def watching(system: Any, *channels: str) -> Watcher:
    """A hub on the first host, and a client of it."""
    HUBS.clear()
    await system.spawn(
        props(StreamHub, parts), name="hub", host=1, offer=True, restart=Restart.PERMANENT
    )
    client = Watcher()
    await client.connect(HUBS[0])
    await client.watch(*channels)
    return client


async def test_actors_that_come_fail_and_go_are_seen() -> None:
    async with start(engine="inline", hosts=2) as system:
        client = await watching(system, "system", "connections")
        values = client.snapshots["system"]["values"]
        assert {values[f"host/{slot}"]["state"] for slot in (0, 1, 2)} == {"up"}
        fragile = await system.spawn(Fragile, name="fragile", host=2, restart=Restart.PERMANENT)
        key = f"actor/{fragile.address.slot}/{fragile.address.cell}"
        await until(lambda: key in client.state("system"))
        assert client.state("system")[key]["path"] == "/fragile"
        fragile.tell(Fail())
        await until(lambda: client.state("system")[key]["restarts"] == 1)
        await system.stop(fragile)
        await until(lambda: key not in client.state("system"))
        hub = client.snapshots["connections"]["values"]
        assert hub["hub"]["figures"]["connections"] == 1


async def test_a_dead_letter_and_an_alert_are_seen(tmp_path: Path) -> None:
    rules = (AlertRule(name="High", expression="x > 1"),)
    files = AlertFiles((RuleGroup(name="mine", rules=rules, interval_s=1.0),))
    async with start(engine="inline", hosts=2) as system:
        client = await watching(system, "letters", "alerts")
        assert client.snapshots["alerts"]["alerts"] == []
        store = str(tmp_path / "alerts.db")
        await start_alerts(system, files, store=store, make_evaluator=rising, defaults=False)
        fragile = await system.spawn(Fragile, name="fragile", host=2)
        await system.stop(fragile)

        def has_letter() -> bool:
            try:
                fragile.tell(Fail())
            except Exception:  # noqa: BLE001 - the driver may know already
                return bool(client.payloads("letters"))
            return any(each["reason"] == "no_actor" for each in client.payloads("letters"))

        await until(has_letter)
        await until(lambda: any(each["state"] == "firing" for each in client.payloads("alerts")))
        (alert, *_) = client.payloads("alerts")
        assert alert["id"] == alert["alert"]["id"]
        assert alert["alert"]["labels"]["host"] == "a"
        client.drop()
        again = Watcher()
        await again.connect(HUBS[0])
        await again.watch("alerts")
        assert "High" in {each["name"] for each in again.snapshots["alerts"]["alerts"]}
        await asyncio.sleep(0)


async def test_windows_of_a_metric_are_a_snapshot_and_then_news() -> None:
    async with start(engine="inline", hosts=1, metrics="memory:") as system:
        source = MetricsSource(system.metrics.reader, every_s=0.05)
        hub = Hub(Tokens(), (source,))
        hub.start()
        system.meter.count("orders_total", 3, kind="book")
        await system.metrics.flush()
        client = Watcher()
        await client.connect(hub)
        await client.watch("metrics:orders_total")
        (series,) = client.snapshots["metrics:orders_total"]["series"]
        assert series["tags"]["kind"] == "book"
        assert series["sum"][-1] == 3
        system.meter.count("orders_total", 4, kind="book")
        await system.metrics.flush()

        def sums() -> list[float]:
            found = client.payloads("metrics:orders_total")
            return [sum(found[-1]["series"][0]["sum"])] if found else []

        await until(lambda: sums() == [7])
        assert (await client.subscribe("metrics:"))["code"] == ErrorCode.UNKNOWN_CHANNEL
        await hub.stop()


async def test_a_window_that_closes_is_published_at_once_and_nobody_follows_in_vain() -> None:
    """The source's own next turn is in an hour, and the aggregators have a clock of the test."""
    clock, turns = Clock.start(), 0
    async with start(engine="inline", hosts=1) as system:
        store = await system.spawn(
            props(MetricsStoreActor, partial(metrics_storage, "memory:")), host=1
        )
        made = await system.keyed(props(MetricsAggregator, store, clock_ns=clock), idle_s=1e9)
        parts = (system, store, made)
        metrics = SystemMetrics(system, host_of(system), "memory:", 1, RemoteStorage(store), parts)

        @contextlib.asynccontextmanager
        async def follow(subscriber: Callable[[WindowRows], None]) -> AsyncIterator[None]:
            nonlocal turns
            turns += 1
            async with metrics.following(subscriber):
                yield

        source = MetricsSource(
            metrics.reader, follow, every_s=3_600, wall_time=lambda: clock() / SECOND_NS
        )
        hub = Hub(Tokens(), (source,))
        hub.start()
        await settled()
        assert turns == 0
        await system.ask(AppendPoints(shard=0, batch=batch_of([1, 2], series=[0, 0])))
        client = Watcher()
        await client.connect(hub)
        await client.watch("metrics:requests", "metrics:others")
        (series,) = client.snapshots["metrics:requests"]["series"]
        assert series["open"] == [True]
        async with asyncio.timeout(20):
            while not (await metrics.figures())[0].figures["followers"]:  # noqa: ASYNC110
                await asyncio.sleep(0)
        clock.pass_s(600)
        await system.ask(AppendPoints(shard=0, batch=batch_of([599], series=[0], sequence=2)))
        await until(lambda: bool(client.payloads("metrics:requests")))
        (series,) = client.payloads("metrics:requests")[0]["series"]
        assert (series["open"][0], series["count"][0]) == (False, 2)
        assert not client.payloads("metrics:others")
        assert turns == 1
        await hub.stop()
        cells = len(host_of(system).children_of(None).cells)
        async with metrics.following(lambda _rows: None):
            pass
        assert len(host_of(system).children_of(None).cells) == cells


async def test_pipelines_show_what_they_have_done() -> None:
    spec = DataPipeline("orders", (PipelineStage("all", "filter", configuration={"where": "id"}),))
    async with start(engine="inline", hosts=1) as system:
        await system.spawn(
            props(
                PipelineActor,
                spec,
                lambda: MemorySource([{"id": each} for each in range(1, 6)]),
                TableSink,
                MemoryReadModelStore,
            ),
            offer=True,
            restart=Restart.PERMANENT,
        )
        client = await watching(system, "pipelines")
        await until(lambda: "orders" in client.state("pipelines"))
        await until(lambda: client.state("pipelines")["orders"]["account"].get("read") == 5)
