"""What a cluster is for: the page's driver, a durable job, and the review."""

import json
import shutil
import time
from pathlib import Path
from typing import Any, Final

from .cluster import ADDRESS, CLONE, Cluster, RehearsalFailed, until
from .table import Row
from .traces import left_of

__all__ = ["durable", "quickstart", "review"]

TASKS: Final = 300
REVIEWED: Final = "asyncio"
"""The package of Python's library that is reviewed: it lies on all nodes at one place."""


def quickstart(cluster: Cluster) -> Row:
    """The driver of the page, by the page's commands; inline it gives the same."""
    began_s = time.monotonic()
    cluster.by_page("4.", "ray rsync-up")
    printed = cluster.by_page("4.", "ray exec cluster.yaml 'callboard run")
    took_s = time.monotonic() - began_s
    wanted = cluster.on_head("python ~/driver.py engine=inline").strip()
    problems = [] if wanted in printed else [f"{wanted} is missing in {printed[-200:]!r}"]
    left = left_of(cluster.traces())
    return Row("the quickstart", problems=problems, took_s=took_s, left=left)


def durable(cluster: Cluster) -> Row:
    """A driver that is killed in the middle of its execution, and resumed by the command."""
    shutil.copy(Path(__file__).with_name("job.py"), cluster.head.home / "job.py")
    began_s = time.monotonic()
    driver = cluster.driver("job.py", str(TASKS))
    if not until(lambda: len(_done(cluster)) > TASKS // 4, 90.0):
        raise RehearsalFailed("the durable job has not begun: drivers.log says why")
    inside = [pid for pid, line in cluster.head.processes().items() if " job.py " in f"{line} "]
    for process_id in inside:
        cluster.kill(process_id)
    driver.wait()
    gone = until(lambda: not any(node.hosts for node in cluster.traces().values()), 60.0)
    problems = [] if gone else ["the hosts of the killed driver have not ended within 60 s"]
    before = len(_done(cluster))
    printed = cluster.on_head("callboard resume rehearsed-job", timeout_s=180.0)
    wanted = f"sum {sum(number**2 for number in range(TASKS))}"
    if wanted not in printed:
        problems.append(f"{wanted!r} is missing in {printed[-200:]!r}")
    again = len(_done(cluster)) - TASKS
    if again > before // 2:
        problems.append(f"{again} of {before} finished sub-tasks ran again")
    took_s = time.monotonic() - began_s
    return Row(
        "a durable job, its driver killed",
        problems=problems,
        took_s=took_s,
        left=left_of(cluster.traces()),
    )


def _done(cluster: Cluster) -> list[str]:
    files = [machine.home / "job-tasks" for machine in cluster.nodes]
    return [line for file in files if file.exists() for line in file.read_text().splitlines()]


def review(cluster: Cluster) -> Row:
    """The example by address: its report is that of the plain loop."""
    # On the head only: what is a driver's own travels with it.
    shutil.copytree(CLONE / "examples", cluster.head.home / "examples")
    tree = cluster.on_head(f"python -c 'import {REVIEWED} as it; print(it.__path__[0])'").strip()
    began_s = time.monotonic()
    command = f"python -m examples.review {tree} --json --out"
    cluster.on_head(f"{command} by-address --address {ADDRESS}", timeout_s=240.0)
    took_s = time.monotonic() - began_s
    left = left_of(cluster.traces())
    cluster.on_head(f"{command} alone --sequential", timeout_s=240.0)
    reports = [_report(cluster, folder) for folder in ("by-address", "alone")]
    problems = [] if reports[0] == reports[1] else ["its report is not that of the plain loop"]
    return Row("the review", problems=problems, took_s=took_s, left=left)


def _report(cluster: Cluster, folder: str) -> Any:
    text = (cluster.head.home / folder / "report.json").read_text(encoding="utf-8")
    report = json.loads(text)
    report.pop("timings")
    return report
