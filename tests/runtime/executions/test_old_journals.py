"""Journals of earlier releases are listed, shown, folded and resumed.

`tests/data/journals/make.py` made them, with the code of the commit that names their folder:

- `interrupted.db`: a plan that grew, with results (one of them an array), a sub-task that was
  retried, an optional one that failed, a non-idempotent step in doubt, another one that had begun,
  and two that had not;
- `finished.db`: the same plan to its end, and a fork of it from the sub-task `retried` on;
- `large.db`: a chain up to its last link, with two results in blobs and a snapshot.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pytest

import callboard
from callboard import (
    Agent,
    Contract,
    Job,
    Request,
    SubTask,
    System,
    handler,
)
from callboard.actors.executions.history.events import read
from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.actors.executions.step_keys import step_keys
from callboard.jobs import LargeResults
from callboard.messages.core.errors import CallboardError
from callboard.messages.jobs.execution import ExecutionStatus, TaskStatus
from callboard.messages.jobs.job import Decision
from callboard.messaging import Array
from callboard.runtime.cli.execution_report import to_data
from callboard.runtime.cli.listing import count_done, find_doubts, rows_of
from callboard.runtime.cli.logs import find, history_of, open_logs
from callboard.runtime.executions.executions import Executions

MADE: Final = Path(__file__).parents[2] / "data" / "journals"
COMMITS: Final = sorted(
    path.name for path in MADE.iterdir() if path.is_dir() and "_" not in path.name
)
WAIT_S: Final = 30.0
STEPS: Final = 12
LARGE_BYTES: Final = 3_000
SHOP_IDS: Final = (
    "plain", "grows", "retried", "optional", "after", "grid", "pay", "ship", "slow", "end",
    "grown", "grown.after",
)  # fmt: skip

RESULTS: Final = [
    "plain", "grows", "grown", "grown.after", "retried", "after", "grid", "pay", "ship", "slow",
    "end",
]  # fmt: skip


class Part(Contract, name="old.part"):
    name: str
    data: bytes = b""


class Grid(Contract, name="old.grid"):
    values: Array


class Step(Request[Part], name="old.step", version=2):
    name: str
    size: int = 0


class Measure(Request[Grid], name="old.measure"):
    values: Array


class Worker(Agent):
    ran: ClassVar[list[str]] = []

    @handler
    async def step(self, request: Step) -> Part:
        Worker.ran.append(request.name)
        return Part(name=request.name, data=b"." * request.size)

    @handler
    async def measure(self, request: Measure) -> Grid:
        Worker.ran.append("grid")
        return Grid(values=request.values * 2)


def is_not_made_again(_request: Step) -> list[SubTask]:
    raise AssertionError("the plan stands in the journal")


def more(sub_task: SubTask, _result: Any) -> Iterable[SubTask]:
    assert sub_task.id != "grows", "it has grown already"
    return ()


def run_again(sub_task: SubTask, error: CallboardError) -> Decision:
    Worker.ran.append(f"{sub_task.id} in doubt: {error.code}")
    return Decision.RUN_AGAIN


SHOP: Final = Job[Step, list[Any]](
    name="old.shop", decompose=is_not_made_again, expand=more, in_doubt=run_again
)
CHAIN: Final = Job[Step, list[Part]](
    name="old.chain",
    decompose=is_not_made_again,
    large_results=LargeResults.STORE,
    result_bytes_max=1_000,
)


@pytest.fixture(params=COMMITS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    Worker.ran = []
    return Path(shutil.copytree(MADE / request.param, tmp_path / "made"))


@contextlib.asynccontextmanager
async def system_at(path: Path) -> AsyncIterator[System]:
    async with callboard.start(engine="inline", hosts=1, journal=str(path)) as system:
        await system.pool(Worker, size=2)
        yield system


async def resumed(path: Path, job: Job[Step, list[Any]], execution_id: str) -> list[Any]:
    """Resume an execution and return its result; a step in doubt runs again."""
    async with system_at(path) as system:
        execution = await system.resume(job, execution_id)
        if execution_id == "interrupted":
            async for _ in execution.updates():
                figures = execution.statistics().scheduler
                if figures is not None and figures.progress.in_doubt:
                    break
            assert await execution.decide("pay", Decision.RUN_AGAIN)
        return await execution.result(WAIT_S)


def history_at(path: Path, execution_id: str) -> ExecutionHistory:
    with open_logs(str(path)) as logs:
        return history_of(find(logs, execution_id))


def fork_in(path: Path) -> str:
    with open_logs(str(path)) as (log,):
        (fork,) = [row.id for row in rows_of(log) if row.fork_of]
    return fork


def names_of(results: Iterable[Any]) -> list[str]:
    return ["grid" if isinstance(result, Grid) else result.name for result in results]


def test_they_are_listed(folder: Path) -> None:
    found = {}
    for path in sorted(folder.glob("*.db")):
        with open_logs(str(path)) as (log,):
            for row in rows_of(log):
                count_done(log, row)
                find_doubts(log, row)
                assert not row.problem
                name = f"fork of {row.fork_of}" if row.fork_of else row.id
                found[name] = (row.job, str(row.status), row.interrupted, row.done, row.in_doubt)
    assert found == {
        "interrupted": ("old.shop", "running", True, 7, ("pay", "ship")),
        "finished": ("old.shop", "completed", False, 11, ()),
        "fork of finished": ("old.shop", "running", True, 7, ()),
        "large": ("old.chain", "running", True, STEPS, ()),
    }


def test_they_are_shown(folder: Path) -> None:
    history = history_at(folder / "interrupted.db", "interrupted")
    shown = to_data(history, is_running=False, shows_all=True)
    assert [node["id"] for node in shown["sub_tasks"]] == list(SHOP_IDS)
    assert shown["counts"] == {"done": 7, "failed": 1, "in_doubt": 1, "running": 1, "waiting": 2}
    nodes = {node["id"]: node for node in shown["sub_tasks"]}
    assert nodes["end"]["needs"] == ("slow", "pay", "ship")
    assert (nodes["grown.after"]["needs"], nodes["grown.after"]["parent"]) == (("grown",), "grows")
    assert "never" in nodes["optional"]["error"]
    attempts = [(one["task"], one["attempt"], one["code"]) for one in shown["attempts"]]
    assert [attempt for attempt in attempts if attempt[0] in ("retried", "pay")] == [
        ("retried", 1, "handler_failed"),
        ("retried", 2, "handler_failed"),
        ("retried", 3, ""),
        ("pay", 1, "deadline_exceeded"),
    ]
    path = folder / "finished.db"
    assert to_data(history_at(path, fork_in(path)), is_running=False)["counts"] == {
        "done": 7, "waiting": 5
    }  # fmt: skip


def test_they_are_folded(folder: Path) -> None:
    history = history_at(folder / "interrupted.db", "interrupted")
    assert history.began == {SHOP_IDS.index("ship"): 1}
    assert set(history.doubtful) == {SHOP_IDS.index("pay")}
    assert len(history.results) == 7
    (_, grid) = history.results[SHOP_IDS.index("grid")]
    assert [len(buffer) for buffer in grid.buffers] == [6 * 8]
    finished = history_at(folder / "finished.db", "finished")
    assert finished.status is ExecutionStatus.COMPLETED
    assert finished.statuses.count(TaskStatus.DONE) == 11
    large = history_at(folder / "large.db", "large")
    stored = [index for index, (_, one) in large.results.items() if one.blob is not None]
    assert stored == [3, 7]


def test_their_steps_keep_their_idempotency_keys(folder: Path) -> None:
    path = folder / "finished.db"
    for execution_id in ("finished", fork_in(path)):
        history = history_at(path, execution_id)
        key = step_keys(history.id, history.submitted.keys)
        assert key("a/step") == f"{history.id}/a/step"


def test_what_is_read_is_written_with_the_same_bytes(folder: Path) -> None:
    count = 0
    for path in folder.glob("*.db"):
        with open_logs(str(path)) as (log,):
            for event in log.store.read(0, 1_000):
                assert read(event.kind, event.data).write() == event.data, event.kind
                count += 1
    assert count > 50


async def test_only_what_is_missing_runs(folder: Path) -> None:
    results = await resumed(folder / "interrupted.db", SHOP, "interrupted")
    assert sorted(Worker.ran) == ["end", "pay", "ship", "ship in doubt: host_lost", "slow"]
    assert names_of(results) == RESULTS
    (grid,) = [result for result in results if isinstance(result, Grid)]
    assert np.array_equal(grid.values, 2 * np.arange(6.0).reshape(2, 3))


async def test_what_is_over_stays_over(folder: Path) -> None:
    results = await resumed(folder / "finished.db", SHOP, "finished")
    assert Worker.ran == []
    assert names_of(results) == RESULTS


async def test_a_fork_goes_on_from_its_step(folder: Path) -> None:
    path = folder / "finished.db"
    results = await resumed(path, SHOP, fork_in(path))
    assert sorted(Worker.ran) == ["after", "end", "optional", "retried", "ship"]
    assert sorted(names_of(results)) == sorted(SHOP_IDS)


async def test_a_snapshot_and_stored_results_are_used(folder: Path) -> None:
    path = folder / "large.db"
    async with system_at(path) as system:
        executions = system._executions
        assert isinstance(executions, Executions)
        assert executions._snapshots is not None
        results = await (await system.resume(CHAIN, "large")).result(WAIT_S)
        used = executions._snapshots.statistics
        assert (used.used, used.missing, used.damaged) == (1, 0, 0)
    assert Worker.ran == ["last"]
    assert names_of(results) == [*(f"s{step}" for step in range(STEPS)), "last"]
    assert [step for step, one in enumerate(results) if len(one.data) == LARGE_BYTES] == [3, 7]
