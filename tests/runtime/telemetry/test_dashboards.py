"""The dashboard and the scrape configuration: every query names what exists.

With a real Prometheus (`apt-get install prometheus`) an endpoint that shows every metric is scraped
as the configuration says, and each query of the dashboard gives a result.
"""

import asyncio
import contextlib
import fnmatch
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import yaml

from callboard.actors.metrics.series import MetricKind, series_key
from callboard.runtime.telemetry.dashboards import dashboard, scrape_configuration
from callboard.runtime.telemetry.default_rules import default_groups
from callboard.runtime.telemetry.exposition.figures import HostFigures
from callboard.runtime.telemetry.exposition.member import NodeMember
from callboard.runtime.telemetry.exposition.place import Place
from callboard.runtime.telemetry.intake.fetch import FetchFailed, fetch
from callboard.runtime.telemetry.names import METRICS, NODE, RECORDED, Kind, exposed_name
from callboard.runtime.transport.private_folder import private_folder

PAGE: Final = json.loads(dashboard())
EXPOSED: Final = {
    *(exposed_name(name) for name in METRICS),
    *(name for name in RECORDED if name.endswith("_total")),
    *(
        f"{name}{suffix}"
        for name in RECORDED
        if not name.endswith("_total")
        for suffix in ("_bucket", "_count", "_sum")
    ),
}
WORD: Final = re.compile(r"callboard_\w+")


def queries() -> Iterator[tuple[str, str]]:
    """The title and the query of each part of each panel."""
    for panel in PAGE["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def rules() -> Iterator[tuple[str, str]]:
    """The name and the expressions of each default alert rule."""
    for group in default_groups():
        for rule in group.rules:
            for expression in filter(None, (rule.expression, rule.keep_firing_while)):
                yield rule.name, expression


def filled(query: str) -> str:
    """A query as Grafana sends it, for all systems and hosts."""
    for variable, value in (("$__rate_interval", "1m"), ("$system", ".*"), ("$host", ".*")):
        query = query.replace(variable, value)
    return query


def test_every_query_names_metrics_that_exist() -> None:
    asked = (*queries(), *rules())
    found = [(title, name) for title, query in asked for name in WORD.findall(query)]
    assert len(found) > 80
    assert [(title, name) for title, name in found if name not in EXPOSED] == []
    for variable in PAGE["templating"]["list"]:
        for name in WORD.findall(json.dumps(variable)):
            assert name in EXPOSED


def test_every_rate_is_of_a_counter_and_nothing_else_is() -> None:
    for title, query in queries():
        for name, brackets in re.findall(r"(callboard_\w+)\{[^}]*\}(\[)?", query):
            is_counter = name.endswith(("_total", "_bucket", "_count", "_sum"))
            assert is_counter == bool(brackets), (title, name)


def test_the_metrics_of_each_part_are_shown() -> None:
    shown = set(WORD.findall(json.dumps(PAGE["panels"])))
    for name in NODE:
        if "swap" not in name:
            assert exposed_name(name) in shown
    for part in (
        "links",
        "journal",
        "states",
        "projection",
        "consumers",
        "cache",
        "exposition",
        "alerts",
    ):
        assert any(part in name or "frames" in name for name in shown), part


def test_panels_have_a_data_source_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PAGE["panels"]:
        place = panel["gridPos"]
        fields = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not fields & taken, panel["title"]
        assert max(x for x, _ in fields) < 24
        taken |= fields
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in PAGE["panels"]}) == len(PAGE["panels"])


def test_the_scrape_configuration_has_the_files_that_are_written() -> None:
    found = yaml.safe_load(scrape_configuration(private_folder()))
    jobs = {job["job_name"]: job for job in found["scrape_configs"]}
    assert set(jobs) == {"callboard", "ray"}
    (pattern,) = jobs["callboard"]["file_sd_configs"][0]["files"]
    assert fnmatch.fnmatchcase(str(Place.of("a", "b").socket.with_suffix(".json")), pattern)


# --- a real Prometheus ------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def ask(port: int, path: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{path}"
    return json.loads((await fetch(url, {}, bytes_max=10_000_000, timeout_s=10.0)).body)


def labels_of(name: str) -> list[str]:
    """The values of a metric's own label that queries and rules ask for, and another one."""
    own = METRICS[name].label
    asked = " ".join(query for _, query in (*queries(), *rules()))
    return ["any", *re.findall(rf'\b{own}="([^"]+)"', asked)] if own else [""]


async def show_all(host: NodeMember) -> None:
    """Show each metric, and let each counter grow."""
    labels = {name: labels_of(name) for name in METRICS}
    while True:
        for name, metric in METRICS.items():
            give = host.figures.count if metric.kind is Kind.COUNTER else host.figures.gauge
            for label in labels[name]:
                give(name, 1.0, label)
        for name in RECORDED:
            is_counter = name.endswith("_total")
            kind = MetricKind.COUNTER if is_counter else MetricKind.OBSERVATION
            tags = {"job": "j", "step": "s", "agent": "a", "outcome": "done"}
            host.figures.record(series_key(kind, name, tags), (1.0,))
        await asyncio.sleep(0.2)


async def unanswered(port: int) -> str:
    """The first query without a result, and why; empty when there is none."""
    for title, query in (*queries(), *rules()):
        # A rule has no result while all is well; without its threshold it has one.
        shown = re.sub(r" [<>] [0-9.]+$", "", query)
        shown = re.sub(r"^absent\((.*)\)$", r"\1", shown)  # What is there is not absent.
        try:
            answer = await ask(port, f"query?query={quote(filled(shown))}")
        except FetchFailed as error:  # It starts; or it refuses the query.
            return f"{title}: {query}: {error}"
        if answer["status"] != "success" or not answer["data"]["result"]:
            return f"{title}: {query}: {answer}"
    return ""


async def until_all_answered(port: int, process: asyncio.subprocess.Process) -> None:
    problem = ""
    try:
        while problem := await unanswered(port):
            assert process.returncode is None, "Prometheus has refused its configuration"
            await asyncio.sleep(0.5)
    except asyncio.CancelledError:
        raise AssertionError(problem) from None


@pytest.mark.skipif(not shutil.which("prometheus"), reason="there is no Prometheus (Debian has it)")
async def test_a_real_prometheus_answers_every_query(tmp_path: Path) -> None:
    folder = tmp_path / "callboard-0" / "metrics"
    folder.parent.mkdir()
    port = free_port()
    text = scrape_configuration(folder.parent).replace(": 15s", ": 2s")
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace(": 10s", ": 2s").replace("/tmp/ray/", f"{tmp_path}/no-ray/"))
    host = NodeMember(
        Place(folder, "shown-1", "shown"),
        HostFigures(),
        system="shown",
        host="host-1",
        address="127.0.0.1",
        ports=range(1),
    )
    tasks = [asyncio.create_task(host.run()), asyncio.create_task(show_all(host))]
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(100.0):
            await until_all_answered(port, process)
            targets = (await ask(port, "targets"))["data"]["activeTargets"]
            assert [target["health"] for target in targets] == ["up"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
