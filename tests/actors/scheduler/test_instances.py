"""Real task graphs (WfCommons format) for the core, when a folder of them is configured.

The environment variable CALLBOARD_INSTANCES names a folder of `*.json.gz` files.
"""

import gzip
import json
import os
from pathlib import Path

import pytest

from callboard.actors.scheduler.core import SchedulerCore
from callboard.messages.jobs.execution import ExecutionStatus
from callboard.messages.jobs.plan import Plan
from tests.actors.scheduler.drive import OFFERS, run_to_end, task
from tests.actors.scheduler.test_core_model import critical_path

FOLDER = os.environ.get("CALLBOARD_INSTANCES", "")


@pytest.mark.skipif(not FOLDER, reason="CALLBOARD_INSTANCES names no folder of task graphs")
@pytest.mark.parametrize("path", sorted(Path(FOLDER).glob("*.json.gz")), ids=lambda p: p.name)
@pytest.mark.parametrize("executors", [1, 8, 64])
def test_real_graph_keeps_grahams_bound(path: Path, executors: int) -> None:
    found = json.loads(gzip.decompress(path.read_bytes()))["workflow"]["tasks"]
    # Names like the parents field uses; a few tasks of these traces took no measurable time.
    key = "name" if {p for t in found for p in t["parents"]} <= {t["name"] for t in found} else "id"
    tasks = [task(t[key], *t["parents"], weight=max(t["runtimeInSeconds"], 1e-3)) for t in found]
    core = SchedulerCore(Plan(tasks))
    for n in range(executors):
        core.executor_available(f"h{n}", 1, OFFERS)
    makespan, _ = run_to_end(core)
    core.validate_state()
    assert core.status is ExecutionStatus.COMPLETED
    work, path_s = sum(t.weight for t in tasks), critical_path(tasks)
    assert makespan <= work / executors + (1 - 1 / executors) * path_s + 1e-6
