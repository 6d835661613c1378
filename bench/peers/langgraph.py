"""LangGraph: `fanout` in memory, without checkpoints; `durable` with checkpoints in SQLite.

One node runs for each sub-task by `Send`, and an `operator.add` reducer merges the results, all
within this process. `durable` writes each checkpoint before the next step begins
(`durability="sync"`), and SQLite syncs each commit.
"""

import operator
import tempfile
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from bench.entry import serve
from bench.loop import run_on_fastest_loop
from bench.outcome import Outcome, Params, check_of
from bench.timing import timed
from bench.workload import merge_sub_tasks, sub_task_result

__all__: list[str] = []

FULL = 2


class State(TypedDict):
    """The numbers to fan out over, and the results of the sub-tasks."""

    numbers: list[int]
    results: Annotated[list[dict[str, Any]], operator.add]


class SubTask(TypedDict):
    """The input of one sub-task."""

    number: int


def _fan_out(state: State) -> list[Send]:
    return [Send("sub_task", {"number": number}) for number in state["numbers"]]


async def _sub_task(task: SubTask) -> dict[str, Any]:
    return {"results": [sub_task_result(task["number"])]}


def _graph(checkpointer: Any = None) -> Any:
    builder: Any = StateGraph(State)
    builder.add_node("sub_task", _sub_task)
    builder.add_conditional_edges(START, _fan_out, ["sub_task"])
    builder.add_edge("sub_task", END)
    return builder.compile(checkpointer=checkpointer)


async def _merged(graph: Any, count: int, **options: Any) -> dict[str, Any]:
    state = await graph.ainvoke({"numbers": list(range(count)), "results": []}, **options)
    return merge_sub_tasks(state["results"])


async def _fanout(params: Params) -> Outcome:
    graph = _graph()
    await _merged(graph, params["warm_up"])
    with timed() as stopwatch:
        merged = await _merged(graph, params["sub_tasks"])
    return Outcome({"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])}, check_of(merged))


def fanout(params: Params) -> Outcome:
    """One super-step over all sub-tasks, merged by the reducer."""
    return run_on_fastest_loop(_fanout(params))


async def _durable(params: Params) -> Outcome:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    with tempfile.TemporaryDirectory(prefix="bench-langgraph-") as folder:
        async with AsyncSqliteSaver.from_conn_string(str(Path(folder) / "log.db")) as saver:
            async with saver.conn.execute("PRAGMA synchronous") as cursor:
                assert await cursor.fetchone() == (FULL,), "its commits are not synced"
            graph = _graph(saver)
            await _merged(graph, params["warm_up"], **_thread("warm-up"))
            with timed() as stopwatch:
                merged = await _merged(graph, params["sub_tasks"], **_thread("measured"))
    return Outcome({"sub_tasks_per_s": stopwatch.per_s(params["sub_tasks"])}, check_of(merged))


def _thread(name: str) -> dict[str, Any]:
    return {"config": {"configurable": {"thread_id": name}}, "durability": "sync"}


def durable(params: Params) -> Outcome:
    """The same super-step, with each result written at the end of its sub-task."""
    return run_on_fastest_loop(_durable(params))


if __name__ == "__main__":
    serve({"fanout": fanout, "durable": durable})
