"""`durable`: the main path with its journal on disk, compared with the same run without one.

Every step is durable (after fsync) before its results leave the system. The slowdown is the time
with the journal over the time without, in two processes, warmed up.
"""

import tempfile
from pathlib import Path
from typing import Any

import callboard
from bench.outcome import Outcome, Params, check_of
from bench.stores import store_for
from bench.timing import timed
from callboard import System
from callboard.runtime.api.inside import host_of

from .fanout import AGENTS, HOSTS, JOB, Merged, SquareNumbers, Squarer

__all__ = ["run"]


def run(params: Params) -> Outcome:
    """One execution with a journal, and one without."""
    with tempfile.TemporaryDirectory(prefix="callboard-durable-") as folder:
        without_s, plain, _ = _execute(params, journal="off")
        with store_for(params, Path(folder)) as (url, bytes_of):
            with_s, merged, payload_bytes = _execute(params, journal=url)
            written = bytes_of()
    assert check_of(plain) == check_of(merged), "with and without a journal differ"
    count = params["sub_tasks"]
    total = count + params["warm_up"]
    return Outcome(
        {
            "sub_tasks_per_s": count / with_s,
            "without_journal_sub_tasks_per_s": count / without_s,
            "slowdown": with_s / without_s,
            "journal_bytes_per_sub_task": written / total,
            "journal_overhead_bytes_per_sub_task": (written - payload_bytes) / total,
        },
        check_of(merged),
    )


def _execute(params: Params, *, journal: str) -> tuple[float, dict[str, Any], int]:
    async def main(system: System) -> tuple[float, Merged, int]:
        await system.pool(Squarer, size=params.get("agents", AGENTS))
        await system.submit(JOB, SquareNumbers(count=params["warm_up"])).result()
        with timed() as stopwatch:
            request = SquareNumbers(count=params["sub_tasks"])
            merged = await system.submit(JOB, request).result()
        return stopwatch.elapsed_s, merged, _payload_bytes(system, params)

    elapsed_s, merged, payload = callboard.run(
        main, hosts=params.get("hosts", HOSTS), standbys=0, journal=journal
    )
    return elapsed_s, {"sum": merged.sum, "texts": list(merged.texts)}, payload


def _payload_bytes(system: System, params: Params) -> int:
    """The size of the requests and results, each encoded once."""
    from bench.workload import sub_task_result

    from .fanout import Square, SquareNumber

    encode = host_of(system).codec.encode
    return sum(
        len(encode(SquareNumber(number=number))[0])
        + len(encode(Square(**sub_task_result(number)))[0])
        for count in (params["sub_tasks"], params["warm_up"])
        for number in range(count)
    )
