"""Executions of a detached system on a real cluster, while their processes are killed.

One system for all cases, as for its actors: its journal and its execution service are the same
throughout.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from callboard.actors.executions.history.fold import ExecutionHistory
from callboard.runtime.cli.logs import find, history_of, open_logs

from .cluster import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

JOBS: Final = """
from pathlib import Path

from callboard import Agent, Job, SubTask
from callboard.jobs import Decision

FOLDER = Path(os.environ["CLUSTER_FOLDER"])
HELD = range(50_000, 50_010)

class Line(Contract):
    n: int
    key: str

class Work(Request[Line]):
    n: int
    pause_s: float = 0.002

class Pay(Request[Line]):
    fails: bool = True

class Lines(Contract):
    lines: tuple[Line, ...]

class All(Contract):
    name: str
    count: int
    pause_s: float = 0.002
    holds: bool = False

def note(name, text):
    file = os.open(FOLDER / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{text}\\n".encode())
    os.close(file)

class Worker(Agent):
    concurrency = 16

    @handler
    async def work(self, request: Work, ctx: Context) -> Line:
        await asyncio.sleep(request.pause_s)
        while request.n in HELD and not (FOLDER / "open").exists():
            await asyncio.sleep(0.02)
        note(ctx.idempotency_key.partition("/")[0], request.n)
        return Line(n=request.n, key=ctx.idempotency_key)

    @handler
    async def pay(self, request: Pay, ctx: Context) -> Line:
        name = ctx.idempotency_key.partition("/")[0]
        note(name, "paid")
        if len((FOLDER / name).read_text().split()) == 1:
            raise ConnectionError("the bank does not answer: is it paid?")
        return Line(n=1, key=ctx.idempotency_key)

def plan(request):
    numbers = [*range(request.count), *(HELD if request.holds else ())]
    return [SubTask(str(n), Work(n=n, pause_s=request.pause_s)) for n in numbers]

job = Job[All, Lines](
    name="lines", decompose=plan, transform=lambda found: Lines(lines=tuple(found))
)
paying = Job[All, list[Line]](
    name="paying", decompose=lambda _: [SubTask("pay", Pay(), non_idempotent=True)]
)

async def until_done(handle, count):
    async for update in handle.updates():
        if type(update).__name__ == "Progressed" and update.done >= count:
            return

def checked(result, count):
    assert type(result) is Lines and type(result.lines[0]) is Line
    return [line.n for line in result.lines] == list(range(count))
"""

STARTS: Final = (
    JOBS
    + """
async def main():
    async with start(
        name="orders", detached=True, address=ADDRESS, hosts=2, heartbeat_s=0.5,
        journal=str(FOLDER / "orders.db"),
    ) as system:
        await system.pool(Worker, size=4)
        say(**await pids(system))

asyncio.run(main())
"""
)


@pytest.fixture(scope="module")
def journal(cluster: Cluster) -> Iterator[Path]:
    """The journal of a system whose driver has left."""
    cluster.environment["CLUSTER_FOLDER"] = str(cluster.folder)
    cluster.said(STARTS)
    yield cluster.folder / "orders.db"
    cluster.callboard("down", "orders")


def history(journal: Path, execution_id: str) -> ExecutionHistory:
    with open_logs(str(journal)) as logs:
        return history_of(find(logs, execution_id))


def listed(cluster: Cluster, journal: Path, execution_id: str) -> dict[str, Any]:
    said = cluster.command("ls", "--json", "--journal", str(journal))
    rows = json.loads(said.stdout)["executions"]
    (row,) = [row for row in rows if row["id"] == execution_id]
    found: dict[str, Any] = row
    return found


def runs(cluster: Cluster, execution_id: str) -> list[str]:
    return (cluster.folder / execution_id).read_text().split()


def test_an_execution_goes_on_when_its_driver_is_killed(cluster: Cluster, journal: Path) -> None:
    """Two later drivers follow it at the same time, and each sub-task ran once."""
    killed = cluster.driver(
        JOBS
        + """
async def main():
    async with attach("orders", address=ADDRESS) as system:
        handle = system.submit(job, All(name="a", count=3_000), execution_id="killed")
        await until_done(handle, 100)
        say(runs=True)
        await handle.result()

asyncio.run(main())
"""
    )
    assert killed.hear()["runs"]
    killed.kill()
    row = listed(cluster, journal, "killed")
    assert (row["status"], row["interrupted"]) in {("running", False), ("completed", False)}
    followers = [
        cluster.driver(
            JOBS
            + """
async def main():
    async with attach("orders", address=ADDRESS) as system:
        handle = await system.resume(job, "killed")
        result = await handle.result(60)
        again = await (await system.resume(job, "killed")).result(60)
        say(right=checked(result, 3_000) and again == result, state=handle.state().status)

asyncio.run(main())
"""
        )
        for _ in range(2)
    ]
    for follower in followers:
        assert follower.hear() == {"right": True, "state": "completed"}
        assert follower.end() == 0, follower.errors.read_text()[-3_000:]
    assert sorted(map(int, runs(cluster, "killed"))) == list(range(3_000))
    found = history(journal, "killed")
    assert len(found.owners) == 1
    assert sorted(attempt.task for attempt in found.attempts) == list(range(3_000))


def test_the_host_of_the_execution_service_and_the_root_are_killed_together(
    cluster: Cluster, journal: Path
) -> None:
    driver = cluster.driver(
        JOBS
        + """
async def main():
    async with attach("orders", address=ADDRESS) as system:
        request = All(name="b", count=2_000, pause_s=0.02)
        handle = system.submit(job, request, execution_id="struck")
        await until_done(handle, 200)
        servers = [pid for name, pid in (await pids(system)).items() if "execution-service" in name]
        say(servers=servers, root=await root_pid("orders"))
        result = await handle.result(100)
        say(right=checked(result, 2_000), n=handle.state().metrics.done)

asyncio.run(main())
"""
    )
    said = driver.hear()
    (execution_service,) = said["servers"]
    os.kill(execution_service, signal.SIGSTOP)  # So that its journal stands still while it is read.
    before = history(journal, "struck")
    done = [int(before.ids[index]) for index in before.results]
    os.kill(execution_service, signal.SIGKILL)
    os.kill(said["root"], signal.SIGKILL)
    assert driver.hear() == {"right": True, "n": 2_000}
    assert driver.end() == 0, driver.errors.read_text()[-3_000:]
    counts = [0] * 2_000
    for number in runs(cluster, "struck"):
        counts[int(number)] += 1
    assert len(done) >= 200
    assert {counts[number] for number in done} == {1}, "what was done is not run again"
    assert min(counts) == 1
    after = history(journal, "struck")
    assert len(after.owners) == 2
    assert after.is_over
    assert sorted(after.results) == list(range(2_000))
    succeeded = [attempt.task for attempt in after.attempts if not attempt.code]
    assert sorted(succeeded) == list(range(2_000)), "each result is committed once"


def test_everything_is_killed_at_once(cluster: Cluster, journal: Path) -> None:
    """The driver, the root, the execution service and every host of an agent."""
    driver = cluster.driver(
        JOBS
        + """
async def main():
    async with attach("orders", address=ADDRESS) as system:
        handle = system.submit(job, All(name="h", count=1_000, pause_s=0.02), execution_id="all")
        await until_done(handle, 100)
        say(pids=[*(await pids(system)).values(), await root_pid("orders")])
        await handle.result()

asyncio.run(main())
"""
    )
    pids = driver.hear()["pids"]
    assert len(pids) == 4
    for pid in (*pids, driver.process.pid):
        os.kill(pid, signal.SIGKILL)
    driver.end()
    ended = cluster.command("tail", "all", "--for", "60", "--journal", str(journal))
    assert ended.returncode == 0, ended.stdout
    after = history(journal, "all")
    assert after.status == "completed"
    succeeded = [attempt.task for attempt in after.attempts if not attempt.code]
    assert sorted(succeeded) == list(range(1_000)), "each result is committed once"
    said = cluster.said(
        JOBS
        + """
async def main():
    async with attach("orders", address=ADDRESS) as system:
        handle = await system.resume(job, "all")
        say(right=checked(await handle.result(60), 1_000))

asyncio.run(main())
"""
    )
    assert said["right"]


def test_a_step_in_doubt_waits_for_a_person_while_nobody_is_there(
    cluster: Cluster, journal: Path
) -> None:
    """Also, a command cancels an execution without followers."""
    cluster.said(
        JOBS
        + """
async def main():
    async with attach("orders", address=ADDRESS) as system:
        handle = system.submit(paying, All(name="c", count=1), execution_id="doubtful")
        long = system.submit(job, All(name="d", count=9, pause_s=3600.0), execution_id="long")
        async for _ in handle.updates():
            figures = handle.statistics().scheduler
            if figures is not None and figures.progress.in_doubt:
                break
        async for update in long.updates():
            if type(update).__name__ == "Progressed" and update.running:
                break
        say(left=True)

asyncio.run(main())
"""
    )
    assert listed(cluster, journal, "doubtful")["in_doubt"] == ["pay"]
    approved = cluster.command("approve", "doubtful", "pay", "--journal", str(journal))
    assert "runs again; its system continues" in approved.stdout, approved.stderr
    ended = cluster.command("tail", "doubtful", "--for", "30", "--journal", str(journal))
    assert ended.returncode == 0, ended.stdout
    assert history(journal, "doubtful").status == "completed"
    assert runs(cluster, "doubtful") == ["paid", "paid"]
    cancelled = cluster.command("cancel", "long", "--journal", str(journal))
    assert "its system cancelled it" in cancelled.stdout, cancelled.stderr
    shown = json.loads(cluster.command("show", "long", "--json", "--journal", str(journal)).stdout)
    assert shown["status"] == "cancelled"


@pytest.mark.soak
def test_what_the_system_leaves_when_it_is_stopped_is_resumed_in_the_next(
    cluster: Cluster, journal: Path
) -> None:
    cluster.said(
        JOBS
        + """
async def main():
    async with attach("orders", address=ADDRESS) as system:
        request = All(name="e", count=40, holds=True)
        handle = system.submit(job, request, execution_id="stopped")
        await until_done(handle, 40)
        say(left=True)

asyncio.run(main())
"""
    )
    assert cluster.callboard("down", "orders").returncode == 0
    row = listed(cluster, journal, "stopped")
    assert (row["status"], row["interrupted"]) == ("running", True)
    cluster.said(STARTS)
    said = cluster.said(
        JOBS
        + """
async def main():
    async with attach("orders", address=ADDRESS) as system:
        (FOLDER / "open").touch()
        handle = await system.resume(job, "stopped")
        result = await handle.result(60)
        say(right=[line.n for line in result.lines] == [*range(40), *HELD])

asyncio.run(main())
"""
    )
    assert said["right"]
    assert len(history(journal, "stopped").owners) == 2
    ran = sorted(map(int, runs(cluster, "stopped")))
    assert ran == [*range(40), *range(50_000, 50_010)]


@pytest.mark.soak
def test_the_error_names_another_process_that_writes_the_journal(cluster: Cluster) -> None:
    said = cluster.said(
        JOBS
        + """
from callboard.runtime.stores.file_lock import FileLock

async def main():
    path = FOLDER / "taken.db"
    lock = FileLock(path)
    assert lock.take()
    async with start(
        name="other", detached=True, address=ADDRESS, hosts=1, standbys=0, journal=str(path)
    ) as system:
        await system.pool(Worker, size=1)
        try:
            await system.submit(job, All(name="f", count=1), execution_id="late").result(60)
        except errors.StoreFailed as error:
            refused = str(error)
        lock.release()
        result = await system.submit(job, All(name="f", count=1), execution_id="late").result(60)
        say(refused=refused, right=checked(result, 1), pid=os.getpid())

asyncio.run(main())
"""
    )
    assert f"is written by process {said['pid']}" in said["refused"]
    assert said["right"]
    assert cluster.callboard("down", "other").returncode == 0
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if "other-execution-service" in str(p.info)
    ]


@pytest.mark.soak
def test_with_postgresql_its_execution_service_may_come_back_anywhere(
    cluster: Cluster, postgres_url: str
) -> None:
    """It belongs to no node, and the new writer fences the old one."""
    cluster.environment["JOURNAL"] = postgres_url
    driver = cluster.driver(
        JOBS
        + """
async def main():
    async with start(
        name="served", detached=True, address=ADDRESS, hosts=1, standbys=0,
        journal=os.environ["JOURNAL"],
    ) as system:
        await system.pool(Worker, size=4)
        handle = system.submit(job, All(name="g", count=500, pause_s=0.02), execution_id="served")
        await until_done(handle, 50)
        processes = await pids(system)
        (server,) = [pid for name, pid in processes.items() if "execution-service" in name]
        os.kill(server, signal.SIGKILL)
        say(right=checked(await handle.result(60), 500))

asyncio.run(main())
"""
    )
    assert driver.hear()["right"]
    assert driver.end() == 0, driver.errors.read_text()[-3_000:]
    with open_logs(postgres_url) as logs:
        found = history_of(find(logs, "served"))
    assert len(found.owners) == 2
    assert sorted(attempt.task for attempt in found.attempts if not attempt.code) == list(
        range(500)
    )
    assert cluster.callboard("down", "served").returncode == 0
