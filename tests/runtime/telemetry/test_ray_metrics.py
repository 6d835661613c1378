"""Metrics and names in Ray's exporter and state API."""

import asyncio
import contextlib
import re
import sqlite3
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ray
from ray.util import list_named_actors

import callboard
from callboard.actors.events.projection.projector import Projector
from callboard.actors.journal.journal import Journal
from callboard.actors.kernel.actor import Actor, handler
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import HandlerFailed
from callboard.runtime.api.start import start
from callboard.runtime.engines.ray.metrics import TAG_KEYS
from callboard.runtime.stores.memory import MemoryReadModelStore
from callboard.runtime.stores.sqlite import SqliteEventStore
from callboard.runtime.telemetry.intake.scraper import Scraper, ScrapeTarget
from callboard.runtime.telemetry.names import HOST, METRICS
from tests.actors.events.accounts import Accounts, append, some_events, until

SCRAPE_EVERY_S = 0.5
HOSTS = frozenset(HOST) - {
    "callboard_dead_letters",
    "callboard_frames_resent",
    "callboard_connections_refused",
    "callboard_connections_failed",
    "callboard_threads_refused",
}
"""Ray exports a counter after its first increase."""
KEPT = frozenset(
    {
        ("callboard_journal_faults", "driver", "locked"),
        ("callboard_journal_appends", "driver", ""),
        ("callboard_journal_commit_seconds", "driver", ""),
        ("callboard_cache_misses", "driver", "local"),
        ("callboard_projection_lag_positions", "driver", "accounts"),
        ("callboard_projection_events", "driver", "accounts"),
        ("callboard_states_pending_notifications", "driver", ""),
    }
)
"""Name, host and own label of the metrics of the driver's parts."""
TAG = re.compile(r'(\w+)="([^"]*)"')
LINE = re.compile(r"^ray_(callboard_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


class Done(Contract, name="raymetrics.done"):
    pass


class Crash(Request[Done], name="raymetrics.crash"):
    pass


class Fragile(Actor):
    @handler
    async def crash(self, request: Crash) -> Done:
        raise ValueError("on purpose")


class Scraped(NamedTuple):
    """A metric as the node's port has it."""

    name: str
    tags: dict[str, str]
    value: float


def address() -> str:
    """Where Ray shows its metrics."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return f"http://{nodes[0]['NodeManagerAddress']}:{nodes[0]['MetricsExportPort']}/metrics"


def scraped(system: str) -> list[Scraped]:
    """A system's metrics at the node's port; another test's may run on the same cluster."""
    url = address()
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            text = answer.read().decode()
    except OSError:
        return []  # The agent is still starting.
    found = [
        Scraped(name.removesuffix("_total"), dict(TAG.findall(labels)), float(value))
        for name, labels, value in LINE.findall(text)
    ]
    return [metric for metric in found if metric.tags.get("system") == system]


async def points_of_ray() -> dict[str, float]:
    """What a scraper of Callboard reads there."""
    scraper = Scraper([ScrapeTarget(address(), "ray")], every_s=0.5)
    async with asyncio.timeout(30.0), contextlib.aclosing(scraper.columns()) as pages:  # type: ignore[type-var]
        async for columns in pages:
            names = [columns.series[place].name for place in columns.index]
            return dict(zip(names, columns.values.tolist(), strict=True))
    return {}


async def wait_for(system: str, enough: Callable[[list[Scraped]], bool]) -> list[Scraped]:
    """Scrape until what is there is enough."""
    async with asyncio.timeout(60.0):
        while True:
            metrics = await asyncio.to_thread(scraped, system)
            if enough(metrics):
                return metrics
            await asyncio.sleep(SCRAPE_EVERY_S)


def check_labels(metrics: list[Scraped]) -> None:
    for name, tags, _ in metrics:
        own = METRICS[name].label
        assert tags.keys() >= {*TAG_KEYS, *([own] if own else [])}
        others = tags.keys() - TAG_KEYS - {own}
        assert not [
            label for label in others if re.search("actor|execution|stream", label, re.IGNORECASE)
        ]


def test_labels_are_the_system_and_the_host_and_one_of_a_closed_set() -> None:
    assert TAG_KEYS == ("system", "host")
    own = {metric.label for metric in METRICS.values() if metric.label}
    of_nodes = {"mode", "over", "state"}
    of_events = {"fault", "outcome", "reason", "projection", "group", "pipeline", "fate"}
    others = {"tier", "way", "source", "severity", "status", "stage"}
    assert own == {*of_nodes, *of_events, *others}


@pytest.mark.ray
async def test_hosts_publish_their_figures_and_are_readable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")

    def has_all(metrics: list[Scraped]) -> bool:
        restarted = {tags["host"] for name, tags, _ in metrics if name == "callboard_restarts"}
        return "host-1" in restarted and {name for name, _, _ in metrics} >= HOSTS

    async with start(hosts=1, standbys=0, name="seen", metrics_s=0.2) as system:
        ref = await system.spawn(Fragile, name="fragile")
        with pytest.raises(HandlerFailed):
            await system.ask(Crash(), to=ref)
        metrics = await wait_for("seen", has_all)
        points = await points_of_ray()
        actors = list_named_actors(all_namespaces=True)
    check_labels(metrics)
    assert {"up", "ray_callboard_actors"} <= points.keys()
    assert points["up"] == 1.0
    assert len([name for name in points if name.startswith("ray_")]) > 20
    assert {tags["host"] for _, tags, _ in metrics} <= {"driver", "host-1"}
    named = [actor["name"] for actor in actors if actor["name"].startswith("seen")]
    assert len(named) == 1
    assert re.fullmatch(r"seen-\w+-host-1", named[0])


@pytest.mark.soak
@pytest.mark.ray
async def test_what_is_stored_cached_and_projected_is_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also a fault of the journal: another connection holds its lock for a while."""
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")
    path, count = tmp_path / "log.db", 20

    def of(metrics: list[Scraped]) -> dict[tuple[str, str, str], float]:
        return {
            (name, tags["host"], tags.get(METRICS[name].label, "")): value
            for name, tags, value in metrics
        }

    def has_all(metrics: list[Scraped]) -> bool:
        found = of(metrics)
        lag = ("callboard_projection_lag_positions", "driver", "accounts")
        return found.keys() >= KEPT and found[lag] == 0.0

    async with (
        start(hosts=1, standbys=0, name="kept", metrics_s=0.2, journal="off") as system,
        callboard.states.open_states(str(tmp_path / "states.db"), system=system) as states,
    ):
        store = SqliteEventStore(path)
        store._database._busy_s = 0.02  # Or the lock would be waited for.
        journal = Journal(store, owner="test")
        await journal.open()
        projector = Projector(Accounts(), journal, MemoryReadModelStore())
        callboard.telemetry.measure(system, journal, projector)
        await projector.start()
        await states.synchronise(["nobody"])
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            appending = asyncio.ensure_future(append(journal, some_events(1, count)))
            await until(lambda: journal.statistics().retries > 0, "the journal waits for the lock")
            other.execute("ROLLBACK")
        await appending
        metrics = await wait_for("kept", has_all)
        await projector.close()
        await journal.close()
    check_labels(metrics)
    assert of(metrics)["callboard_projection_events", "driver", "accounts"] == count
