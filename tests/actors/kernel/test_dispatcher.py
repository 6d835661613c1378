"""The dispatcher: incarnations, turns, and workers that are as new for each message."""

import asyncio
import contextvars
import itertools
import time
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, Agent, handler
from callboard.actors.kernel.dispatcher import BATCH_MESSAGES, SLICE_S
from callboard.actors.kernel.host.host import Host
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import HandlerFailed

MARK = contextvars.ContextVar("mark", default=0)


class Number(Contract, name="dispatcher.number"):
    n: int


class Ping(Request[Number], name="dispatcher.ping"):
    n: int


class Linger(Request[Number], name="dispatcher.linger"):
    """Its handler outlives its incarnation, and then raises."""


class Note(Contract, name="dispatcher.note"):
    n: int


class Lingering(Actor):
    """Handlers that swallow their cancellation."""

    concurrency: ClassVar[int] = 3

    def __init__(self, gate: asyncio.Event, made: list["Lingering"]) -> None:
        self.gate = gate
        self.waits = asyncio.Event()
        self.count = 0
        made.append(self)

    @handler
    async def linger(self, request: Linger) -> Number:
        self.waits.set()
        try:
            await asyncio.sleep(3_600.0)
        except asyncio.CancelledError:
            await self.gate.wait()
        raise ValueError("too late")

    @handler
    async def ping(self, request: Ping) -> Number:
        self.count += 1
        if request.n < 0:
            raise ValueError("negative")
        return Number(n=self.count)


class Retrying(Lingering):
    attempts_max: ClassVar[int] = 2


@pytest.mark.parametrize("actor", [Lingering, Retrying])
async def test_a_handler_of_a_past_incarnation_does_not_fail_the_new_one(
    host: Host, spawn: Any, actor: type[Lingering]
) -> None:
    gate, made = asyncio.Event(), list[Lingering]()
    ref = await spawn(actor, gate, made)
    lingering = ref.ask(Linger())
    await made[0].waits.wait()
    with pytest.raises(HandlerFailed):
        await ref.ask(Ping(n=-1))
    before = (await ref.ask(Ping(n=1))).n
    incarnations = len(made)
    gate.set()
    if actor is Retrying:
        await made[-1].waits.wait()  # Its message goes to the new one.
    else:
        with pytest.raises(HandlerFailed, match="too late"):
            await lingering
    assert (await ref.ask(Ping(n=1))).n == before + 1, "it has kept its state"
    assert len(made) == incarnations


class Busy(Agent):
    """Keeps the loop for so many slices with each message."""

    def __init__(self, done: list[str], name: str) -> None:
        self.done = done
        self.name = name

    @handler
    async def note(self, message: Note) -> None:
        ends_s = time.perf_counter() + message.n * SLICE_S
        while time.perf_counter() < ends_s:
            pass
        self.done.append(self.name)

    @handler
    async def ping(self, request: Ping) -> Number:
        return Number(n=request.n)


async def test_the_loop_gets_its_turn_in_a_long_run_of_messages(host: Host, spawn: Any) -> None:
    done: list[str] = []
    refs = [await spawn(Busy, done, "actor") for _ in range(6)]

    def turn() -> None:
        done.append("loop")
        if len(done) < 12:
            host.loop.call_soon(turn)

    turn()
    for ref in refs:
        ref.tell(Note(n=2))
    await asyncio.gather(*(ref.ask(Ping(n=1)) for ref in refs))
    actors = [place for place, name in enumerate(done) if name == "actor"]
    assert len(actors) == 6
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(actors)), done


async def test_another_actor_gets_its_turn_after_a_batch(host: Host, spawn: Any) -> None:
    done: list[str] = []
    long, short = await spawn(Busy, done, "long"), await spawn(Busy, done, "short")
    for _ in range(4 * BATCH_MESSAGES):
        long.tell(Note(n=0))
    short.tell(Note(n=0))
    await long.ask(Ping(n=1))
    assert done.index("short") <= BATCH_MESSAGES


class Traces(Agent):
    """Tells which task it runs in; leaves a variable behind if it is asked to."""

    def __init__(self, tasks: list[int]) -> None:
        self.tasks = tasks

    @handler
    async def ping(self, request: Ping) -> Number:
        self.tasks.append(id(asyncio.current_task()))
        if request.n < 0:
            MARK.set(request.n)
        try:
            async with asyncio.timeout(3_600.0):
                await asyncio.sleep(0)
        finally:
            self.tasks[-1] = id(asyncio.current_task())
        return Number(n=MARK.get())


async def test_a_worker_serves_on_when_nothing_was_left(host: Host, spawn: Any) -> None:
    tasks: list[int] = []
    ref = await spawn(Traces, tasks)
    await ref.ask(Ping(n=0))
    worker = next(iter(host.dispatcher.workers))
    for _ in range(100):
        await ref.ask(Ping(n=0))
    assert len(set(tasks)) == 1
    assert list(host.dispatcher.workers) == [worker]


async def test_workers_that_end_are_forgotten(host: Host, spawn: Any) -> None:
    tasks: list[int] = []
    refs = [await spawn(Traces, tasks) for _ in range(10)]
    for _ in range(50):
        replies = await asyncio.gather(*(ref.ask(Ping(n=-1)) for ref in refs))
        assert [reply.n for reply in replies] == [-1] * 10
        assert (await refs[0].ask(Ping(n=0))).n == 0
    assert len(host.dispatcher.workers) <= 2


async def test_a_stranger_that_cancels_all_tasks_stops_no_actor(host: Host, spawn: Any) -> None:
    tasks: list[int] = []
    refs = [await spawn(Traces, tasks) for _ in range(3)]
    await asyncio.gather(*(ref.ask(Ping(n=0)) for ref in refs))
    asked = [ref.ask(Ping(n=0)) for ref in refs]
    for worker in tuple(host.dispatcher.workers):
        assert worker.task is not None
        worker.task.cancel()
    assert [(await ask).n for ask in asked] == [0, 0, 0]
