"""One host alone: handlers, stops, cleanup, and the watchdog."""

import asyncio
import inspect
import queue
import re
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel.actor import Actor, Agent, OnError, handler
from callboard.actors.kernel.cell import Recipe
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.host.watchdog import Watchdog
from callboard.actors.pools.cell import PoolRecipe
from callboard.messages.control.control_plane import CONTROL_SLOT
from callboard.messages.control.hosts import BlockedLoop
from callboard.messages.control.lifecycle import Exit
from callboard.messages.control.spec import StopTimeout
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import (
    ActorStartFailed,
    ActorStopped,
    Cancelled,
    DeadlineExceeded,
    HandlerFailed,
    NameTaken,
)


class Number(Contract, name="host.number"):
    n: int


class Ping(Request[Number], name="host.ping"):
    n: int


class Wait(Request[Number], name="host.wait"):
    """Waits for ever."""


class Stall(Contract, name="host.stall"):
    seconds: float


class Both(Actor):
    """Handles two messages at once, and restarts on any error."""

    concurrency: ClassVar[int] = 2

    @handler
    async def ping(self, request: Ping) -> Number:
        if request.n < 0:
            raise ValueError("negative")
        return Number(n=request.n)

    @handler
    async def wait(self, request: Wait) -> Number:
        await asyncio.sleep(3_600.0)
        return Number(n=0)

    @handler
    async def stall(self, message: Stall) -> None:
        time.sleep(message.seconds)  # noqa: ASYNC251 - that is the fault


class Swallower(Agent):
    """Swallows its first cancellation."""

    @handler
    async def wait(self, request: Wait) -> Number:
        try:
            await asyncio.sleep(3_600.0)
        except asyncio.CancelledError:
            return Number(n=-1)
        return Number(n=0)

    @handler
    async def ping(self, request: Ping, ctx: Context) -> Number:
        await asyncio.sleep(0)
        return Number(n=request.n)


class Timeouts(Agent):
    """Uses asyncio's own cancellation inside a handler that is cancelled."""

    @handler
    async def wait(self, request: Wait) -> Number:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3_600.0))
        return Number(n=0)

    @handler
    async def ping(self, request: Ping) -> Number:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3_600.0)
        except TimeoutError:
            return Number(n=request.n)
        return Number(n=-1)


class FailsToStart(Actor):
    def __init__(self) -> None:
        raise ValueError("unborn")


class Leaver(Actor):
    def __init__(self, stopped: list[int], number: int) -> None:
        self._stopped = stopped
        self._number = number

    async def stopping(self, ctx: Context, reason: Exit) -> None:
        self._stopped.append(self._number)


class Starts(Actor):
    on_error: ClassVar[OnError] = OnError.RESUME


async def test_crash_cancels_the_actors_other_handlers(host: Host, spawn: Any) -> None:
    ref = await spawn(Both)
    waiting = ref.ask(Wait())
    with pytest.raises(HandlerFailed):
        await ref.ask(Ping(n=-1))
    with pytest.raises(Cancelled):
        await waiting
    assert (await ref.ask(Ping(n=1))).n == 1


async def test_handler_that_swallows_its_cancellation_harms_no_later_one(
    host: Host, spawn: Any
) -> None:
    ref = await spawn(Swallower)
    for n in range(20):
        with pytest.raises(DeadlineExceeded):
            await ref.ask(Wait(), timeout_s=0.01)
        assert (await ref.ask(Ping(n=n))).n == n


async def test_asyncios_own_timeouts_and_groups_work_in_handlers(host: Host, spawn: Any) -> None:
    ref = await spawn(Timeouts)
    with pytest.raises(DeadlineExceeded):
        await ref.ask(Wait(), timeout_s=0.02)
    assert (await ref.ask(Ping(n=2))).n == 2


async def test_nothing_remains_of_actors_that_did_not_start(host: Host, spawn: Any) -> None:
    cells = len(host.cells)
    for _ in range(3):
        with pytest.raises(ActorStartFailed):
            await spawn(FailsToStart)
    with pytest.raises(ActorStartFailed):
        await host.spawn(PoolRecipe(FailsToStart, (), None, "pool", 3), None)
    assert len(host.cells) == cells
    assert host.termination.start_failures == {}


async def test_nothing_remains_of_actors_that_are_refused(host: Host) -> None:
    await host.spawn(Recipe(Starts, (), None, "one"), None)
    cells = len(host.cells)
    with pytest.raises(NameTaken):
        await host.spawn(Recipe(Starts, (), None, "one"), None)
    await host.spawner.stop_all()
    with pytest.raises(ActorStopped):
        await host.spawn(Recipe(Starts, (), None, "two"), None)
    assert len(host.cells) == cells - 1


async def test_nothing_remains_of_asks(host: Host, spawn: Any) -> None:
    ref = await spawn(Both)
    await asyncio.gather(*(ref.ask(Ping(n=n)) for n in range(1_000)))
    asks = [ref.ask(Wait(), timeout_s=0.01) for _ in range(100)]
    await asyncio.gather(*asks, return_exceptions=True)
    cancelled = asyncio.ensure_future(ref.ask(Wait()))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert len(host.deadlines) == 0
    assert host.pending == {}
    assert (await ref.ask(Ping(n=1))).n == 1


async def test_stop_order_is_reverse_of_start(host: Host, spawn: Any) -> None:
    stopped: list[int] = []
    for number in range(5):
        await spawn(Leaver, stopped, number)
    await host.spawner.stop_all()
    assert stopped == [4, 3, 2, 1, 0]


async def test_handler_that_outlasts_the_stop_timeout_is_killed(host: Host, spawn: Any) -> None:
    ref = await spawn(Both, stop_timeout=StopTimeout(0.05))
    waiting = ref.ask(Wait())
    assert (await ref.ask(Ping(n=1))).n == 1
    await host.termination.stop_child(None, ref.address.cell)
    with pytest.raises(ActorStopped) as caught:
        await waiting
    assert caught.value.may_have_run is True
    assert ref.address.cell not in host.cells


async def test_watchdog_names_actor_contract_and_line(host: Host, spawn: Any) -> None:
    found: list[BlockedLoop] = []
    noticed = threading.Event()

    def blocked(finding: BlockedLoop) -> None:
        found.append(finding)
        noticed.set()

    watchdog = Watchdog(host, 0.2, blocked)
    watchdog.start()
    try:
        ref = await spawn(Both)
        ref.tell(Stall(seconds=1.0))
        assert (await ref.ask(Ping(n=1))).n == 1
        assert noticed.is_set()
    finally:
        watchdog.stop()
    (finding,) = found
    assert finding.text == f"/${ref.address.cell} is handling a host.stall"
    assert "time.sleep(message.seconds)" in finding.stack
    assert finding.seconds >= 0.2


class StallsInAHook(Actor):
    async def started(self, ctx: Context) -> None:
        time.sleep(1.0)  # noqa: ASYNC251 - that is the mistake


class StallsWhenMade(Actor):
    def __init__(self) -> None:
        time.sleep(1.0)


async def blocked_by(host: Host, block: Callable[[], Any]) -> BlockedLoop:
    """The finding of the watchdog of a host while something blocks the loop."""
    found: queue.SimpleQueue[BlockedLoop] = queue.SimpleQueue()
    watchdog = Watchdog(host, 0.2, found.put)
    watchdog.start()
    try:
        result = block()
        if inspect.isawaitable(result):
            await result
    finally:
        watchdog.stop()
    return found.get(timeout=10.0)


@pytest.mark.parametrize(
    ("actor", "says"),
    [(StallsInAHook, "is in its started hook"), (StallsWhenMade, "is being constructed")],
)
async def test_watchdog_names_the_actor_whose_start_blocks(
    host: Host, spawn: Any, actor: type[Actor], says: str
) -> None:
    finding = await blocked_by(host, lambda: spawn(actor))
    assert re.fullmatch(rf"/\$\d+ {says}", finding.text)
    assert "time.sleep(1.0)" in finding.stack


async def test_watchdog_names_the_task_that_blocks_outside_handlers(host: Host) -> None:
    async def stall() -> None:
        time.sleep(1.0)  # noqa: ASYNC251 - that is the mistake

    finding = await blocked_by(host, lambda: host.start_task(stall()))
    assert finding.text.startswith("code outside handlers, the task test_watchdog_names_the_task")
    assert finding.text.endswith("stall, does not return")


async def test_watchdog_of_a_driver_names_the_drivers_own_code(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.slot = CONTROL_SLOT
    finding = await blocked_by(host, lambda: time.sleep(1.0))
    assert finding.text == "the driver's own code does not return"
    assert "asyncio.to_thread" in caplog.text
    assert "def" not in caplog.text.split("to_thread")[1]


async def test_watchdog_says_what_blocks_the_loop_to_another_thread_until_it_runs_again(
    host: Host, spawn: Any
) -> None:
    watchdog = Watchdog(host, 0.2)
    watchdog.start()
    seen: list[BlockedLoop | None] = []
    query = threading.Timer(0.6, lambda: seen.append(watchdog.blocking()))
    try:
        ref = await spawn(Both)
        assert watchdog.blocking() is None
        query.start()
        await ref.ask(Stall(seconds=1.2))
        query.join()
        assert seen[0] is not None
        assert seen[0].doing == "is handling a host.stall"
        assert watchdog.blocking() is None
    finally:
        watchdog.stop()
