"""Two execution services of one system in real processes: the old one is stopped, and wakes up.

It stands for a service whose node was cut off: nothing can end it, and it does not know that it has
been replaced.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from callboard.runtime.stores.choose import event_store
from tests.servers.guarded import wait_until

STEPS = 400
SCRIPT = """
import asyncio, json, logging, pathlib, sys
from functools import partial

from callboard import Agent, Contract, Job, Request, SubTask, handler, props, start
from callboard.messages.control.spec import Restart
from callboard.runtime.executions.service.execution_service import ExecutionService
from callboard.runtime.executions.service.jobs import pack_job
from callboard.runtime.executions.service.messages import TakeExecution
from callboard.runtime.hosting.settings import Settings

STEPS, JOURNAL, FOLDER, SUBMITS = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]

class Say(logging.Handler):
    def emit(self, record):
        say(log=record.getMessage())

logging.getLogger("callboard.executions").addHandler(Say())

class Done(Contract, name="replaced.done"):
    n: int

class Step(Request[Done], name="replaced.step"):
    n: int

class Order(Contract, name="replaced.order"):
    pass

def say(**values):
    print(json.dumps(values), flush=True)

class Worker(Agent):
    @handler
    async def step(self, request: Step) -> Done:
        await asyncio.sleep(0.02)
        if request.n % 20 == 0:
            say(step=request.n)
        return Done(n=request.n)

def plan(order):
    return [SubTask(f"s{n}", Step(n=n)) for n in range(STEPS)]

JOB = Job[Order, list[Done]](name="replaced", decompose=plan)

class FileLedger:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    async def write(self, entries):
        for key, value in entries.items():
            if value is None:
                (self.folder / key).unlink(missing_ok=True)
                say(over=key)
            else:
                (self.folder / key).write_bytes(value)

    async def read(self):
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

async def main():
    settings = Settings(name="replaced", journal=JOURNAL)
    async with start(engine="inline", hosts=1) as system:
        await system.pool(Worker, size=2)
        service = await system.spawn(
            props(ExecutionService, settings, partial(FileLedger, FOLDER)),
            name="service", restart=Restart.TRANSIENT,
        )
        ended = system.watch(service)
        if SUBMITS == "submits":
            await service.ask(TakeExecution(
                execution_id="one", job=JOB.name, code=pack_job(JOB, Order(), {}),
                token="t", is_new=True, driver={},
            ))
        say(up=True)
        down = await ended
        say(ended=down.kind)

asyncio.run(main())
"""


class Service:
    """One process with an execution service."""

    def __init__(self, folder: pathlib.Path, journal: str, what: str) -> None:
        script, ledger = folder / "service.py", folder / "ledger"
        script.write_text(SCRIPT, encoding="utf-8")
        ledger.mkdir(exist_ok=True)
        self._errors = folder / f"errors-{what}"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(script), str(STEPS), journal, str(ledger), what],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "CALLBOARD_HOME": str(folder)},
            )

    def hear(self, what: str) -> Any:
        """Read until the process has said this."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line) if line.startswith("{") else {}
            if what in said:
                return said[what]
        raise AssertionError(f"it has not said {what!r}: {self._errors.read_text()[-3_000:]}")

    def stop(self) -> None:
        """Suspend it. What a thread of it writes at this moment is written when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        threads = pathlib.Path(f"/proc/{self.process.pid}/task")
        wait_until(lambda: all(map(_is_stopped, threads.glob("*/stat"))), "all threads stop")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


def _is_stopped(status: pathlib.Path) -> bool:
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return True  # This thread has ended.


Begin = Callable[[str, str], Service]


@pytest.fixture
def begin(tmp_path: pathlib.Path) -> Iterator[Begin]:
    """Starts services of one system, and ends what is left of them."""
    services: list[Service] = []

    def begin_one(journal: str, what: str) -> Service:
        services.append(Service(tmp_path, journal, what))
        return services[-1]

    yield begin_one
    for service in services:
        service.process.kill()
        service.process.communicate()


def events_of(url: str) -> list[tuple[int, bytes]]:
    store = event_store(url)
    store.open()
    try:
        return [(event.position, event.id) for event in store.read(0, 100_000)]
    finally:
        store.close()


def test_a_replaced_service_that_wakes_up_writes_nothing_and_ends(
    begin: Begin, postgres_url: str
) -> None:
    old = begin(postgres_url, "submits")
    old.hear("step")
    old.stop()
    new = begin(postgres_url, "continues")
    new.hear("over")
    written = events_of(postgres_url)
    old.send(signal.SIGCONT)
    while not old.hear("log").startswith("the execution service of replaced ends: a newer one"):
        pass
    assert old.hear("ended") == "normal"
    assert events_of(postgres_url) == written
    assert [position for position, _ in written] == list(range(1, len(written) + 1))
    assert len({id_ for _, id_ in written}) == len(written)


def test_a_service_on_a_file_waits_for_the_writer_before_it(
    begin: Begin, tmp_path: pathlib.Path
) -> None:
    """A stopped process holds the lock of its file: the next service writes once it has ended."""
    journal = str(tmp_path / "journal.db")
    old = begin(journal, "submits")
    old.hear("step")
    old.stop()
    written = events_of(journal)
    new = begin(journal, "continues")
    assert f"is written by process {old.process.pid}" in new.hear("log")
    assert events_of(journal) == written
    old.send(signal.SIGKILL)
    new.hear("over")
    assert len(events_of(journal)) > len(written)
