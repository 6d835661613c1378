"""The driver of the rehearsal: what runs while something breaks, and what it sees of it.

It runs on the head, with a detached system: keyed actors that are asked all the time and whose
threads act on the outside, and one durable execution. It writes a line of JSON for each thing it
sees. Effects stand in a file of each machine, so that those of a machine that is cut off can be
read as well. All times are those of one clock (CLOCK_MONOTONIC), because all machines are one.

    python workload.py NAME RESULTS HOSTS TASKS      # ends when a line comes in
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgpack

import callboard
from callboard import Agent, Context, Contract, Job, KeyedActor, Request, SubTask, System, handler
from callboard.errors import CallboardError, StateConflict
from callboard.keyed import EncodedState
from callboard.messages.storage.keyed_stores import LoadedState

ADDRESS = "192.0.2.10:6379"
KEYS = tuple(f"key-{number}" for number in range(12))
EFFECT_EVERY_S = 0.1
ASK_EVERY_S = 0.1
ASK_TIMEOUT_S = 60.0
TASK_S = 0.4
AGENTS = 12
SHARED = Path("/mnt/shared")


def note(file: str, **what: Any) -> None:
    """Append one line to a file in the home of this machine."""
    line = json.dumps({"at_s": time.monotonic(), **what}) + "\n"
    with (Path.home() / file).open("a", encoding="utf-8") as opened:
        opened.write(line)


class Balance(Contract):
    amount: int


class Deposit(Request[Balance]):
    account: str
    amount: int


class Stored:
    """A store that every machine reaches, also one that is cut off from the others."""

    def __init__(self, path: str) -> None:
        self.path = path

    def _open(self) -> sqlite3.Connection:
        opened = sqlite3.connect(self.path, timeout=10.0, isolation_level=None)
        opened.execute(
            "create table if not exists states (key text primary key, version int, row blob)"
        )
        return opened

    async def load(self, kind: str, key: str) -> LoadedState:
        with contextlib.closing(self._open()) as opened:
            row = opened.execute(
                "select version, row from states where key = ?", (f"{kind}/{key}",)
            ).fetchone()
        if row is None:
            return LoadedState()
        state = msgpack.unpackb(row[1], use_list=False)
        return LoadedState(state=state and EncodedState(**state), version=row[0])

    async def save(self, kind: str, key: str, state: EncodedState | None, version: int) -> int:
        packed = msgpack.packb(state and state.model_dump())
        with contextlib.closing(self._open()) as opened:
            opened.execute("begin immediate")
            row = opened.execute(
                "select version from states where key = ?", (f"{kind}/{key}",)
            ).fetchone()
            if row is not None and row[0] > version:
                opened.execute("rollback")
                raise StateConflict(
                    f"{kind} {key!r} has version {row[0]}, not {version}.",
                    advice="Load it again.",
                    may_have_run=False,
                )
            opened.execute(
                "insert into states values (?, ?, ?) on conflict (key)"
                " do update set version = excluded.version, row = excluded.row",
                (f"{kind}/{key}", version + 1, packed),
            )
            opened.execute("commit")
        return version + 1


class Account(KeyedActor):
    """Its thread acts on the outside for as long as its activation exists."""

    key = "account"

    def restore(self, state: Balance | None) -> None:
        self.amount = 0 if state is None else state.amount

    def snapshot(self) -> Balance:
        return Balance(amount=self.amount)

    async def started(self, ctx: Context) -> None:
        self.over = threading.Event()
        self.fence = getattr(ctx, "fence", None)
        self.me = f"{os.getpid()}-{time.monotonic()}"
        self.account = ""

    async def stopping(self, ctx: Context, reason: Any) -> None:
        self.over.set()

    def _act(self) -> None:
        while not self.over.wait(EFFECT_EVERY_S):
            note("effects", key=self.account, by=self.me, fence=self.fence)

    @handler
    async def deposit(self, request: Deposit) -> Balance:
        self.amount += request.amount
        if not self.account:
            self.account = request.account
            threading.Thread(target=self._act, daemon=True).start()
        return Balance(amount=self.amount)


class Square(Request[Balance]):
    number: int


class Squares(Contract):
    count: int


class Worker(Agent):
    @handler
    async def square(self, request: Square, ctx: Context) -> Balance:
        await asyncio.sleep(TASK_S)
        note("tasks", task=ctx.idempotency_key)
        return Balance(amount=request.number**2)


def tasks(request: Squares) -> list[SubTask]:
    return [SubTask(f"n-{number}", Square(number=number)) for number in range(request.count)]


squares = Job[Squares, list[Balance]](name="squares", decompose=tasks)


class Driver:
    def __init__(self, system: System, results: Path, count: int) -> None:
        self.system = system
        self.results = results.open("a", encoding="utf-8", buffering=1)
        self.count = count
        self.over = asyncio.Event()

    def say(self, what: str, **more: Any) -> None:
        line = {"at_s": time.monotonic(), "what": what, **more}
        self.results.write(json.dumps(line) + "\n")

    async def ask(self, key: str, accounts: Any) -> None:
        while not self.over.is_set():
            began_s = time.monotonic()
            try:
                reply = await accounts.ask(Deposit(account=key, amount=1), timeout_s=ASK_TIMEOUT_S)
                self.say("answered", key=key, began_s=began_s, amount=reply.amount)
            except CallboardError as error:
                self.say("failed", key=key, began_s=began_s, error=type(error).__name__)
            await asyncio.sleep(ASK_EVERY_S)

    async def execute(self) -> None:
        try:
            results = await self.system.submit(squares, Squares(count=self.count)).result()
            self.say("executed", amounts=sum(result.amount for result in results))
        except CallboardError as error:
            self.say("not_executed", error=f"{type(error).__name__}: {error}")

    async def watch(self) -> None:
        """Every change of what the root says about its hosts."""
        before: dict[str, Any] = {}
        while not self.over.is_set():
            try:
                view = await self.system.view()
            except CallboardError as error:
                self.say("no_view", error=type(error).__name__)
            else:
                for host in view.hosts:
                    now = {"node": host.node, "epoch": host.epoch, "state": host.state}
                    if before.get(host.name) != now:
                        self.say("host", host=host.name, pid=host.pid, **now)
                        before[host.name] = now
            await asyncio.sleep(0.2)

    async def until_over(self) -> None:
        await asyncio.to_thread(sys.stdin.readline)
        self.over.set()


async def main(name: str, results: str, hosts: int, count: int) -> None:
    options: Any = {"name": name, "detached": True, "address": ADDRESS, "hosts": hosts}
    async with callboard.start(standbys=1, show_host_logs=False, **options) as system:
        driver = Driver(system, Path(results), count)
        accounts = await system.keyed(Account, store=Stored(f"{SHARED}/{name}.db"), save_every=1)
        await system.pool(Worker, size=AGENTS)
        await asyncio.gather(*(accounts.ask(Deposit(account=key, amount=0)) for key in KEYS))
        driver.say("ready")
        running = asyncio.create_task(driver.execute())
        others = [asyncio.create_task(driver.ask(key, accounts)) for key in KEYS]
        others.append(asyncio.create_task(driver.watch()))
        await driver.until_over()
        await asyncio.wait(others, timeout=20.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running, 60.0)
        driver.say("over")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
