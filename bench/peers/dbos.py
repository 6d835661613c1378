"""DBOS with its system database on SQLite: `durable`.

One workflow; each sub-task is a step. DBOS writes the result of a step before the workflow
continues. The steps of one workflow run concurrently, as far as its thread pool and SQLite allow.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from dbos import DBOS

from bench.entry import serve
from bench.outcome import Outcome, Params, check_of
from bench.timing import timed
from bench.workload import merge_sub_tasks, sub_task_result

__all__: list[str] = []


def durable(params: Params) -> Outcome:
    """Run one workflow over all sub-tasks, and merge the results."""
    with tempfile.TemporaryDirectory(prefix="bench-dbos-") as folder:
        url = f"sqlite:///{Path(folder) / 'dbos.db'}"
        config: Any = {
            "name": "bench",
            "system_database_url": url,
            "run_admin_server": False,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        fan_out = _workflow()
        DBOS.launch()
        try:
            asyncio.run(fan_out(params["warm_up"]))
            with timed() as stopwatch:
                merged = asyncio.run(fan_out(params["sub_tasks"]))
        finally:
            DBOS.destroy()
    return Outcome({"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])}, check_of(merged))


def _workflow() -> Any:
    step: Any = DBOS.step()
    workflow: Any = DBOS.workflow()

    @step
    async def sub_task(number: int) -> dict[str, Any]:
        return sub_task_result(number)

    @workflow
    async def fan_out(count: int) -> dict[str, Any]:
        return merge_sub_tasks(await asyncio.gather(*map(sub_task, range(count))))

    return fan_out


if __name__ == "__main__":
    serve({"durable": durable})
