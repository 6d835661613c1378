"""The CLI sends commands to executions of a detached system."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .cluster import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

COMMAND = "from callboard.runtime.cli.main import main; main()"
RUNS = """
from callboard import Agent, Job, SubTask

class Worker(Agent):
    @handler
    async def step(self, request: Hang) -> Count:
        await asyncio.sleep(3600)
        return Count(n=0, pid=0)

async def main():
    async with start(
        name="steered", detached=True, address=ADDRESS, hosts=1, journal={journal!r}
    ) as system:
        await system.pool(Worker, size=1)
        job = Job(name="hangs", decompose=lambda request: [SubTask("a", request)])
        execution = system.submit(job, Hang(), execution_id="one")
        await anext(aiter(execution.updates()))  # Its execution service runs it now.
        say(up=True)
        try:
            await execution.result()
        except errors.Cancelled:
            say(cancelled=True)

asyncio.run(main())
"""


@pytest.mark.soak
def test_the_execution_service_cancels_what_it_runs(cluster: Cluster, tmp_path: Path) -> None:
    journal = str(tmp_path / "j.db")
    driver = cluster.driver(RUNS.format(journal=journal))
    try:
        assert driver.hear() == {"up": True}
        cancelled = subprocess.run(
            [sys.executable, "-c", COMMAND, "cancel", "one", "--journal", journal],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=cluster.environment,
        )
        assert cancelled.returncode == 0, cancelled.stderr
        assert "its system cancelled it" in cancelled.stdout
        assert driver.hear() == {"cancelled": True}
        assert driver.end() == 0
        seen = cluster.callboard("tree", "--json")
        assert [system["name"] for system in json.loads(seen.stdout)["systems"]] == ["steered"]
    finally:
        driver.process.kill()
        cluster.callboard("down", "steered")
