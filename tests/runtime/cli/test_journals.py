"""Commands on journals in any state: grown plans, forks without an origin, damage."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

import callboard as cb
from callboard import Agent, Contract, Job, Request, SubTask, handler
from callboard.actors.executions.history.events import Kind, pack, stream_of
from callboard.messages.storage.events import Append, Appended, NewEvent
from callboard.runtime.cli.outcome import ExitCode
from callboard.runtime.stores.sqlite import SqliteEventStore

Run = Callable[..., Any]


class Part(Contract, name="journals.part"):
    name: str


class Step(Request[Part], name="journals.step"):
    name: str


class Worker(Agent):
    """Notes its requests."""

    runs: ClassVar[list[str]] = []

    @handler
    async def step(self, request: Step) -> Part:
        Worker.runs.append(request.name)
        if request.name.endswith("hang"):
            await asyncio.Event().wait()
        return Part(name=request.name)


def grows(_sub_task: SubTask, result: Part) -> Iterable[SubTask]:
    """Two more sub-tasks for each of the plan; the second needs the first."""
    if "." not in result.name:
        one = f"{result.name}.1"
        yield SubTask(one, Step(name=one))
        yield SubTask(f"{result.name}.2", Step(name=f"{result.name}.2"), needs=(one,))


def named(parts: list[Part]) -> list[str]:
    return sorted(part.name for part in parts)


GROWING: Final = Job[Step, list[Part]](
    name="growing",
    decompose=lambda _: [SubTask(name, Step(name=name)) for name in ("a", "b", "c")],
    expand=grows,
)
HANGING: Final = Job[Step, list[Part]](
    name="hanging", decompose=lambda _: [SubTask("a", Step(name="hang"))]
)
ALL: Final = sorted(f"{name}{rest}" for name in "abc" for rest in ("", ".1", ".2"))


async def submitted(job: Job[Step, list[Part]], id_: str, *, waits: bool = True) -> None:
    async with cb.start(engine="inline", hosts=1, journal="j.db") as system:
        await system.spawn(Worker, offer=True, stop_timeout=cb.supervision.StopTimeout.KILL)
        execution = system.submit(job, Step(name="x"), execution_id=id_)
        async with asyncio.timeout(30):
            if waits:
                assert named(await execution.result()) == ALL
                return
            async for _ in execution.updates():
                figures = execution.statistics().scheduler
                if figures is not None and figures.progress.running:
                    return


async def resumed(id_: str) -> list[str]:
    Worker.runs = []
    async with cb.start(engine="inline", hosts=1, journal="j.db") as system:
        await system.pool(Worker, size=1)
        return named(await (await system.resume(GROWING, id_)).result(30))


def appended(id_: str, *events: tuple[Kind, bytes]) -> None:
    """Write events into the journal, without a check of their contents."""
    store = SqliteEventStore("j.db")
    try:
        store.open()
        store.take_over("the test")
        new = tuple(NewEvent(uuid.uuid4().bytes, str(kind), data) for kind, data in events)
        (outcome,) = store.commit([Append(stream_of(id_), new)])
        assert isinstance(outcome, Appended)
    finally:
        store.close()


def test_a_fork_of_a_plan_that_grew_grows_again(callboard: Run) -> None:
    asyncio.run(submitted(GROWING, "grown"))
    wanted = {"a": ["a", "a.1", "a.2"], "b.1": ["b.1", "b.2"], "c.2": ["c.2"]}
    for step, again in wanted.items():
        ended = callboard("fork", "grown", "--from", step, "--journal", "j.db", "--json")
        assert ended.code == 0, ended.err
        fork = json.loads(ended.out)
        assert fork["shared"] == len(ALL) - len(again)
        assert asyncio.run(resumed(fork["id"])) == ALL
        assert sorted(Worker.runs) == again
        shown = json.loads(callboard("show", fork["id"], "--journal", "j.db", "--json").out)
        assert shown["counts"] == {"done": len(ALL)}
        assert sorted(node["id"] for node in shown["sub_tasks"]) == ALL
        needs = {node["id"]: node["needs"] for node in shown["sub_tasks"]}
        assert needs["a.2"] == ["a.1"]
        assert needs["c.2"] == ["c.1"]
        # And a fork of the fork, from a step that the first one shares.
        ended = callboard("fork", fork["id"], "--from", "b", "--journal", "j.db", "--json")
        assert asyncio.run(resumed(json.loads(ended.out)["id"])) == ALL
        assert sorted(Worker.runs) == ["b", "b.1", "b.2"]


COMMANDS: Final = (
    ("show", "bad"),
    ("show", "bad", "--html", "page.html"),
    ("cancel", "bad"),
    ("approve", "bad", "a"),
    ("resume", "bad"),
    ("fork", "bad", "--from", "a"),
)


def refuses(callboard: Run, said: str) -> None:
    """Check that every command reports the damage, and that none crashes or writes."""
    for command in COMMANDS:
        ended = callboard(*command, "--journal", "j.db")
        assert ended.code == ExitCode.FAILED, command
        assert said in ended.err, command
        assert "Traceback" not in ended.err
    assert callboard("events", "bad", "--journal", "j.db").code == 0
    tail = callboard("tail", "bad", "--journal", "j.db", "--for", "0")
    assert tail.code == ExitCode.TIMEOUT


def test_a_fork_whose_origin_is_gone(callboard: Run, folder: Path) -> None:
    fields = {"of": "gone", "version": 7, "from": "a", "at": 1.0, "by": "the test/1"}
    appended("bad", (Kind.FORKED, pack(fields)))
    refuses(callboard, "which this journal does not have")
    (row,) = json.loads(callboard("ls", "--journal", "j.db", "--json").out)["executions"]
    assert row["fork_of"] == "gone"
    assert not (folder / "page.html").exists()


@pytest.mark.parametrize(
    "events",
    [
        [(Kind.SUBMITTED, b"\xc1")],
        [(Kind.SUBMITTED, pack({"by": "x"}))],
        [
            (Kind.SUBMITTED, pack({"job": "j", "by": "x", "at": 1.0})),
            (Kind.BEGAN, pack({"rows": [[9, 1]], "at": 1.0})),
        ],
    ],
)
def test_damaged_events_are_named(callboard: Run, events: list[tuple[Kind, bytes]]) -> None:
    asyncio.run(submitted(GROWING, "good"))
    appended("bad", *events)
    refuses(callboard, "execution bad: event")
    rows = json.loads(callboard("ls", "--journal", "j.db", "--json").out)["executions"]
    problems = {row["id"]: bool(row["problem"]) for row in rows}
    assert problems == {"good": False, "bad": True}
    assert callboard("show", "good", "--journal", "j.db").code == 0


def test_a_file_that_is_no_journal_is_named(callboard: Run, folder: Path) -> None:
    (folder / "j.db").write_bytes(b"no journal" * 1_000)
    ended = callboard("ls", "--journal", "j.db")
    assert (ended.code, "Traceback" in ended.err) == (ExitCode.FAILED, False)
    assert "j.db" in ended.err


def test_an_execution_left_by_its_system_is_cancelled(callboard: Run) -> None:
    asyncio.run(submitted(HANGING, "left", waits=False))
    ended = callboard("cancel", "left", "--journal", "j.db", "--json")
    assert (ended.code, json.loads(ended.out)["status"]) == (0, "cancelled"), ended.err
    (row,) = json.loads(callboard("ls", "--journal", "j.db", "--json").out)["executions"]
    assert (row["status"], row["interrupted"]) == ("cancelled", False)
    assert row["ended_at"] is not None
    ended = callboard("tail", "left", "--journal", "j.db")
    assert ended.code == 0
    assert "running → cancelled" in ended.out


def test_an_interrupt_ends_tail(callboard: Run, start: Callable[..., Any]) -> None:
    asyncio.run(submitted(HANGING, "left", waits=False))
    tail = start("tail", "left", "--journal", "j.db")
    tail.wait_for("submitted")
    tail.interrupt()
    ended = tail.end()
    assert ended.code == ExitCode.INTERRUPTED
    assert "Traceback" not in ended.err
