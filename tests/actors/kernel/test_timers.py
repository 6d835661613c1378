"""Timers on a clock that the test turns, and on a real host."""

import asyncio
import heapq
import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from callboard.actors.kernel import timers as module
from callboard.actors.kernel.actor import Actor, behaviour_of, handler
from callboard.actors.kernel.cell import Cell, Lifecycle, Recipe
from callboard.actors.kernel.context import Context
from callboard.actors.kernel.dead_letters import DeadLetters
from callboard.actors.kernel.host.host import Host
from callboard.actors.kernel.monitors.notices import Notices
from callboard.actors.kernel.timers import Timers
from callboard.messages.core.contract import Contract, Request
from callboard.messages.core.errors import CallboardError, InvalidMessage, UsageError


class Tick(Contract, name="timers.tick"):
    text: str = ""


class Unheard(Contract, name="timers.unheard"):
    """No actor handles it."""


class Count(Contract, name="timers.count"):
    n: int
    remaining_s: float | None = None


class AskCount(Request[Count], name="timers.ask_count"):
    """How many ticks there were."""


class Crash(Contract, name="timers.crash"):
    """Raises."""


class Clock(Actor):
    """Sets timers in its start hook, and counts."""

    mailbox_messages: ClassVar[int] = 2
    entries: ClassVar[int] = 0
    ticked: ClassVar["asyncio.Event | None"] = None

    def __init__(self, delay_s: float, period_s: float = 0.0) -> None:
        type(self).entries += 1
        self.delay_s = delay_s
        self.period_s = period_s
        self.count = 0
        self.remaining_s: float | None = 0.0

    async def started(self, ctx: Context) -> None:
        ctx.send_after(self.delay_s, Tick(text=str(type(self).entries)))
        if self.period_s:
            ctx.send_every(self.period_s, Tick(text="every"))

    @handler
    async def tick(self, message: Tick, ctx: Context) -> None:
        self.count += 1
        self.remaining_s = ctx.remaining_s()
        if self.ticked is not None:
            self.ticked.set()

    @handler
    async def counted(self, request: AskCount) -> Count:
        return Count(n=self.count, remaining_s=self.remaining_s)

    @handler
    async def crash(self, message: Crash) -> None:
        raise ValueError("on purpose")


class Handle:
    """One scheduled call."""

    def __init__(self, at_s: float, call: Callable[..., Any]) -> None:
        self.at_s = at_s
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def __lt__(self, other: "Handle") -> bool:
        return self.at_s < other.at_s


class World:
    """A loop whose time stands still, and one cell that no worker serves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.calls: list[Handle] = []
        self.dead_letters = DeadLetters("test")
        self.notices = Notices(self.dead_letters)
        self.timers = Timers(self, self.notices)  # type: ignore[arg-type] # all that it needs
        self.cell = Cell(7, Recipe(Clock), behaviour_of(Clock), self)  # type: ignore[arg-type]
        self.cell.lifecycle = Lifecycle.RUNNING

    def time(self) -> float:
        return self.now_s

    def call_at(self, at_s: float, call: Callable[..., Any]) -> Handle:
        handle = Handle(at_s, call)
        heapq.heappush(self.calls, handle)
        return handle

    def enqueue(self, cell: Cell) -> None:
        """In place of the dispatcher: no worker serves the cell."""

    def pass_time(self, seconds: float) -> None:
        """Let time pass; the loop calls on time."""
        end_s = self.now_s + seconds
        while self.calls and self.calls[0].at_s <= end_s:
            handle = heapq.heappop(self.calls)
            self.now_s = max(self.now_s, handle.at_s)
            if not handle.is_cancelled:
                handle.call()
        self.now_s = end_s

    def stand_still(self, seconds: float) -> None:
        """Block the loop for so long; then it makes the due calls, late."""
        self.now_s += seconds
        self.pass_time(0.0)

    def handle_all(self) -> list[str]:
        """Handle all messages in the mailbox; returns their texts."""
        self.cell.queued = False
        texts = []
        while (item := self.cell.take()) is not None:
            if getattr(item, "done", False):
                continue
            texts.append(item.message.text)
            item.done = True
            item.sink.reply(item.correlation, None)
        return texts


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("delay_s", [-0.1, math.nan, math.inf, 2e9, True, "1", None])
def test_a_wrong_delay_is_refused_by_name(world: World, delay_s: Any) -> None:
    with pytest.raises(UsageError, match="delay_s of a timer is"):
        world.timers.after(world.cell, delay_s, Tick())


@pytest.mark.parametrize("period_s", [0, 0.0005, -1.0, math.nan, math.inf, False])
def test_a_wrong_period_is_refused_by_name(world: World, period_s: Any) -> None:
    with pytest.raises(UsageError, match="period_s of a timer is"):
        world.timers.every(world.cell, period_s, Tick())


def test_a_message_that_is_not_a_contract_is_refused(world: World) -> None:
    with pytest.raises(InvalidMessage, match="a str stands where a message belongs"):
        world.timers.after(world.cell, 1.0, "tick")  # type: ignore[arg-type] # that is the fault


def test_a_message_without_a_handler_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match=r"has no handler for a timers\.unheard"):
        world.timers.every(world.cell, 1.0, Unheard())


def test_more_timers_than_the_limit_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMERS_MAX", 2)
    world.timers.after(world.cell, 1.0, Tick())
    world.timers.every(world.cell, 1.0, Tick())
    with pytest.raises(UsageError, match="has 2 timers"):
        world.timers.after(world.cell, 1.0, Tick())


def test_a_message_that_waits_to_be_handled_counts_as_a_timer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMERS_MAX", 2)
    for _ in range(2):
        world.timers.after(world.cell, 1.0, Tick(text="x"))
    world.pass_time(2.0)
    with pytest.raises(UsageError, match="has 2 timers"):
        world.timers.after(world.cell, 1.0, Tick())
    assert world.handle_all() == ["x", "x"]
    assert world.timers.count(7) == 0
    world.timers.after(world.cell, 1.0, Tick())


def test_a_single_timer_fires_once_on_time(world: World) -> None:
    timer = world.timers.after(world.cell, 5.0, Tick(text="a"))
    active = [timer.is_active]
    world.pass_time(4.999)
    active.append(timer.is_active)
    assert world.handle_all() == []
    world.pass_time(0.001)
    active.append(timer.is_active)
    assert active == [True, True, False]
    world.pass_time(100.0)
    assert world.handle_all() == ["a"]


def test_a_single_timer_goes_into_a_full_mailbox(world: World) -> None:
    for _ in range(4):
        world.timers.after(world.cell, 1.0, Tick(text="a"))
    world.pass_time(1.0)
    assert world.cell.is_full
    assert world.handle_all() == ["a"] * 4


def test_a_cancelled_timer_is_never_handled(world: World) -> None:
    before = world.timers.after(world.cell, 1.0, Tick(text="before"))
    fired = world.timers.after(world.cell, 1.0, Tick(text="fired"))
    before.cancel()
    world.pass_time(1.0)
    fired.cancel()  # Its message is in the mailbox already.
    fired.cancel()
    assert world.handle_all() == []
    assert world.timers.count(7) == 0
    assert not before.is_active


def test_a_cancelled_periodic_timer_withdraws_its_message(world: World) -> None:
    timer = world.timers.every(world.cell, 1.0, Tick(text="p"))
    world.pass_time(1.0)
    timer.cancel()
    assert not timer.is_active
    world.pass_time(5.0)
    assert world.handle_all() == []


def test_a_periodic_timer_does_not_drift(world: World) -> None:
    timer = world.timers.every(world.cell, 0.1, Tick(text="p"))
    world.pass_time(0.05)
    for _ in range(1_000):
        world.stand_still(0.1)  # Each tick half a period late, none of the next ones later.
        assert world.handle_all() == ["p"]
    assert timer.is_active
    assert world.calls[0].at_s == pytest.approx(100.0 + 0.1 * 1_001, abs=1e-6)


def test_missed_ticks_are_skipped(world: World) -> None:
    world.timers.every(world.cell, 1.0, Tick(text="p"))
    world.stand_still(10.5)
    assert world.handle_all() == ["p"]
    world.pass_time(0.4)
    assert world.handle_all() == []
    world.pass_time(0.1)  # On the schedule of the first.
    assert world.handle_all() == ["p"]


def test_one_tick_at_most_waits(world: World) -> None:
    world.timers.every(world.cell, 1.0, Tick(text="p"))
    world.pass_time(10.0)
    assert world.handle_all() == ["p"]


def test_a_periodic_timer_skips_a_full_mailbox(world: World) -> None:
    world.timers.every(world.cell, 1.0, Tick(text="p"))
    for _ in range(2):
        world.timers.after(world.cell, 0.5, Tick(text="a"))
    world.pass_time(3.0)
    assert world.handle_all() == ["a", "a"]
    world.pass_time(1.0)
    assert world.handle_all() == ["p"]


def test_a_loop_that_calls_early_gives_no_tick_twice(world: World) -> None:
    world.timers.every(world.cell, 1.0, Tick(text="p"))
    first = heapq.heappop(world.calls)
    world.now_s = first.at_s - 1e-4
    first.call()
    assert world.handle_all() == ["p"]
    assert world.calls[0].at_s == pytest.approx(102.0)


def test_all_timers_end_with_their_incarnation(world: World) -> None:
    timers = [world.timers.after(world.cell, 1.0, Tick()) for _ in range(3)]
    timers.append(world.timers.every(world.cell, 1.0, Tick()))
    world.pass_time(1.0)
    world.timers.drop(7)
    world.notices.drop(7)
    world.pass_time(10.0)
    assert world.handle_all() == []
    assert not any(timer.is_active for timer in timers)


async def test_a_timer_does_not_outlive_a_restart(host: Host, spawn: Any) -> None:
    Clock.entries = 0
    clock = await spawn(Clock, 1_000.0, 1_000.0)
    clock.tell(Crash())
    assert (await clock.ask(AskCount())).n == 0
    assert Clock.entries == 2
    assert host.timers.count(clock.address.cell) == 2  # Its own.


async def test_a_stopped_actor_leaves_no_timer(host: Host, spawn: Any) -> None:
    clock = await spawn(Clock, 1_000.0, 1_000.0)
    assert host.timers.count(clock.address.cell) == 2
    await host.termination.stop_child(None, clock.address.cell)
    assert host.timers.count(clock.address.cell) == 0


async def test_a_closed_host_fires_nothing(host: Host, spawn: Any) -> None:
    clock = await spawn(Clock, 1_000.0)
    await host.close()
    assert host.timers.count(clock.address.cell) == 0


async def test_a_periodic_timer_ticks_and_its_handler_has_no_deadline(
    spawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticked = asyncio.Event()
    monkeypatch.setattr(Clock, "ticked", ticked)
    clock = await spawn(Clock, 1_000.0, 0.002)
    for _ in range(3):
        await asyncio.wait_for(ticked.wait(), 5.0)
        ticked.clear()
    count = await clock.ask(AskCount())
    assert count.n >= 3
    assert count.remaining_s is None


async def test_a_handler_without_a_context_for_the_timer_is_refused(spawn: Any) -> None:
    class Mute(Actor):
        async def started(self, ctx: Context) -> None:
            ctx.send_after(0.0, Unheard())

    with pytest.raises(CallboardError, match="has no handler"):
        await spawn(Mute)
