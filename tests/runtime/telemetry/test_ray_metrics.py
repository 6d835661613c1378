"""Metrics and names as Ray shows them."""

import asyncio
import re
import urllib.request
from typing import Any

import pytest
import ray
from ray.util import list_named_actors

from callboard.actors.actor import Actor, handler
from callboard.messages.contract import Contract, Request
from callboard.messages.errors import HandlerFailed
from callboard.runtime.opening import start
from callboard.runtime.telemetry.metrics import METRICS
from callboard.runtime.telemetry.ray_metrics import TAG_KEYS

SYSTEM = "seen"
SCRAPE_EVERY_S = 0.5
QUIET = frozenset({"callboard_dead_letters", "callboard_frames_resent"})
"""Ray tells a counter only once it has counted something."""
OURS = frozenset(TAG_KEYS)
LINE = re.compile(r"^ray_(callboard_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


class Done(Contract, name="raymetrics.done"):
    pass


class Crash(Request[Done], name="raymetrics.crash"):
    pass


class Fragile(Actor):
    @handler
    async def crash(self, request: Crash) -> Done:
        raise ValueError("on purpose")


def scraped() -> dict[tuple[str, str], tuple[float, frozenset[str]]]:
    """Our metrics at the node's port: name and host to the value and the labels' names."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    url = f"http://{nodes[0]['NodeManagerAddress']}:{nodes[0]['MetricsExportPort']}/metrics"
    found = {}
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            text = answer.read().decode()
    except OSError:
        return {}  # The agent is still starting.
    for name, labels, value in LINE.findall(text):
        tags = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        # Another test's system may run on the same cluster.
        if tags.get("system") == SYSTEM:
            found[name, tags.get("host", "")] = (float(value), frozenset(tags))
    return found


async def wait_for_all() -> dict[tuple[str, str], Any]:
    """Scrape until every metric is there, and the restart has been counted."""
    async with asyncio.timeout(60.0):
        while True:
            metrics = await asyncio.to_thread(scraped)
            names = {name.removesuffix("_total") for name, _ in metrics}
            restarted = [host for name, host in metrics if name.startswith("callboard_restarts")]
            if "host-1" in restarted and set(METRICS) - names <= QUIET:
                return metrics
            await asyncio.sleep(SCRAPE_EVERY_S)


def test_labels_are_the_system_and_the_host_and_nothing_else() -> None:
    assert TAG_KEYS == ("system", "host")


@pytest.mark.ray
async def test_hosts_publish_their_figures_and_are_readable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")
    async with start(hosts=1, understudies=0, name=SYSTEM, metrics_s=0.2) as system:
        ref = await system.spawn(Fragile, name="fragile")
        with pytest.raises(HandlerFailed):
            await system.ask(Crash(), to=ref)
        metrics = await wait_for_all()
        actors = list_named_actors(all_namespaces=True)
    names = {name.removesuffix("_total") for name, _ in metrics}
    assert names <= set(METRICS)
    assert {host for _, host in metrics} <= {"driver", "host-1"}
    for labels in {labels for _, labels in metrics.values()}:
        assert labels >= OURS
        assert not [label for label in labels - OURS if "actor" in label.lower()]
        assert not [label for label in labels - OURS if "execution" in label.lower()]
    named = [actor["name"] for actor in actors if actor["name"].startswith(SYSTEM)]
    assert len(named) == 1
    assert re.fullmatch(rf"{SYSTEM}-\w+-host-1", named[0])
