"""Makes the journals in the folders here, each with the code of the commit that names the folder.

    cd a-clone-at-891e5de
    python path/to/make.py path/to/tests/data/journals/891e5de

The names of Callboard that stand in this file are those of that commit, and stay: the file runs
with that code only. `tests/runtime/test_old_journals.py` goes on with what it has made, and says
what each journal holds.
"""
# mypy: ignore-errors
# The names that it takes from Callboard are those of another commit.

import asyncio
import contextlib
import functools
import importlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgpack
import numpy as np

import callboard as cb

WAIT_S = 30.0
LARGE_BYTES = 3_000
STEPS = 12


class Part(cb.Contract, name="old.part"):
    name: str
    data: bytes = b""


class Grid(cb.Contract, name="old.grid"):
    values: cb.Array


class Step(cb.Request[Part], name="old.step", version=2):
    name: str
    size: int = 0


class Measure(cb.Request[Grid], name="old.measure"):
    values: cb.Array


class Worker(cb.Agent):
    hangs = True
    tries: ClassVar[dict[str, int]] = {}

    @cb.handler
    async def step(self, request: Step) -> Part:
        tries = Worker.tries[request.name] = Worker.tries.get(request.name, 0) + 1
        if request.name == "retried" and tries < 3:
            raise ValueError("not yet")
        if request.name == "optional":
            raise ValueError("never")
        if Worker.hangs and request.name in ("slow", "pay", "ship", "last"):
            await asyncio.Event().wait()
        return Part(name=request.name, data=b"." * request.size)

    @cb.handler
    async def measure(self, request: Measure) -> Grid:
        return Grid(values=request.values * 2)


QUICK = cb.RetryPolicy(attempts_max=3, backoff_min_s=0.01)
ONCE = cb.RetryPolicy(attempts_max=1)


def step(name: str, *needs: str, **options: Any) -> cb.SubTask:
    return cb.SubTask(name, Step(name=name), needs=needs, **options)


def shop(_request: Step) -> list[cb.SubTask]:
    return [
        step("plain"),
        step("grows"),
        step("retried", retry=QUICK, priority=3, weight=2.0),
        step("optional", optional=True, retry=ONCE),
        step("after", "plain", "retried", timeout_s=60.0, key="k"),
        cb.SubTask("grid", Measure(values=np.arange(6.0).reshape(2, 3))),
        step("pay", "plain", unsafe=True, timeout_s=0.2),
        step("ship", "after", unsafe=True),
        step("slow", "grows"),
        step("end", "slow", "pay", "ship"),
    ]


def more(sub_task: cb.SubTask, _result: Any) -> Iterable[cb.SubTask]:
    if sub_task.id == "grows":
        yield step("grown")
        yield step("grown.after", "grown")


def chain(_request: Step) -> list[cb.SubTask]:
    names = [*(f"s{n}" for n in range(STEPS)), "last"]
    return [
        cb.SubTask(
            name,
            Step(name=name, size=LARGE_BYTES if name in ("s3", "s7") else 0),
            needs=(names[number - 1],) if number else (),
        )
        for number, name in enumerate(names)
    ]


SHOP = cb.Job(name="old.shop", decompose=shop, expand=more)
CHAIN = cb.Job(
    name="old.chain",
    decompose=chain,
    large_results=cb.LargeResults.STORE,
    result_bytes_max=1_000,
)


async def run(path: Path, job: Any, execution_id: str, until: int | None) -> None:
    """All of it, or until so many results are there and the rest hangs."""
    Worker.hangs, Worker.tries = until is not None, {}
    async with cb.start(engine="inline", hosts=1, journal=str(path), name="old") as system:
        await system.pool(Worker, size=8)
        execution = system.submit(
            job, Step(name="x"), attributes={"asked_by": "me"}, execution_id=execution_id
        )
        async with asyncio.timeout(WAIT_S):
            if until is None:
                await execution.result()
                return
            async for _ in execution.updates():
                state, figures = execution.state(), execution.statistics().scheduler
                if state.intermediate_results < until or figures is None:
                    continue
                if job is CHAIN or (figures.progress.in_doubt and figures.progress.running == 2):
                    return


def fork(path: Path, origin: str, step_id: str) -> None:
    """By the command."""
    commands = importlib.import_module("callboard.runtime.cli.main")
    with contextlib.suppress(SystemExit):
        commands.main(["fork", origin, "--from", step_id, "--journal", str(path)])


@contextlib.contextmanager
def snapshots_after(events: int) -> Iterator[None]:
    """So that a short execution has one: the default is a thousand events."""
    journals: Any = importlib.import_module("callboard.runtime.journals")
    made = journals.HistorySnapshots
    journals.HistorySnapshots = functools.partial(made, every=events)
    yield
    journals.HistorySnapshots = made


def tidy(path: Path) -> None:
    """One small file that names no machine: tracebacks, which name files, are emptied."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        for position, data in [*file.execute("SELECT position, data FROM events")]:
            fields = msgpack.unpackb(data, strict_map_key=False)
            for _, error, *_ in fields.get("failed", ()):
                error["details"]["remote_traceback"] = ""
            change = "UPDATE events SET data = ? WHERE position = ?"
            file.execute(change, (msgpack.packb(fields), position))
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.execute("PRAGMA journal_mode = DELETE")
        file.execute("PRAGMA page_size = 1024")
        file.execute("VACUUM")
    for left in path.parent.glob(f"{path.name}-*"):
        left.unlink()
    path.with_name(path.name + ".lock").unlink(missing_ok=True)


def main(folder: Path) -> None:
    executions: Any = importlib.import_module("callboard.runtime.executions")
    executions.how_started = lambda _environment: {}  # It names files of the machine.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    asyncio.run(run(folder / "interrupted.db", SHOP, "interrupted", 7))
    asyncio.run(run(folder / "finished.db", SHOP, "finished", None))
    fork(folder / "finished.db", "finished", "retried")
    with snapshots_after(4):
        asyncio.run(run(folder / "large.db", CHAIN, "large", STEPS))
    for path in folder.glob("*.db"):
        tidy(path)


if __name__ == "__main__":
    os.umask(0o022)
    main(Path(sys.argv[1]).resolve())
