"""`supervise`: the time of a restart, and the time until another host has notice of a death.

A restart is timed from the sending of the message that makes the actor fail to the answer of the
new incarnation, on one host, without back-off. A notice is timed from the cause of the end (a
message of the driver, or kill -9 of the host's process) to the handler of `Down` on the other host.
All processes of a machine share one clock.
"""

import asyncio
import os
import signal
import time
from typing import Any, ClassVar

import callboard
from bench.ours.standing import KILLED_OFTEN, wait_until_standing
from bench.outcome import Outcome, Params, check_of
from bench.timing import NS_PER_MS, median_and_p99, median_and_worst
from callboard import Actor, Context, Contract, Ref, Request, System, handler
from callboard.messages.control.notices import Down
from callboard.messages.core.errors import HostLost
from callboard.supervision import Backoff, Intensity, Restart, SupervisorSpec

__all__ = ["run"]

WATCHERS_HOST, TARGETS_HOST = 1, 2
NOTICE_TIMEOUT_S = 30.0
RESTARTS_TIMEOUT_S = 120.0


class State(Contract):
    """Whether an actor is as its constructor left it, and its process."""

    is_fresh: bool
    process_id: int


class ReadState(Request[State]):
    """Ask for the state."""


class Mark(Contract):
    """Marks an actor as no longer fresh."""


class Break(Contract):
    """Makes an actor fail."""


class Fragile(Actor):
    """Fails on request."""

    def __init__(self) -> None:
        self._is_fresh = True

    @handler
    async def mark(self, message: Mark) -> None:
        """Note it, in this incarnation only."""
        self._is_fresh = False

    @handler
    async def read(self, request: ReadState) -> State:
        """Give the state."""
        return State(is_fresh=self._is_fresh, process_id=os.getpid())

    @handler
    async def fail(self, message: Break) -> None:
        """Fail."""
        raise RuntimeError("broken on purpose")


class Times(Contract):
    """The duration of each restart."""

    elapsed_ns: list[int]


class MeasureRestarts(Request[Times]):
    """Make a child fail a number of times."""

    count: int


class Breaker(Actor):
    """Makes its child fail."""

    supervision: ClassVar[SupervisorSpec] = SupervisorSpec(
        intensity=Intensity(restarts=1_000_000, period_s=1.0), backoff=Backoff(max_s=0.0)
    )

    def __init__(self) -> None:
        self._child: Ref[Fragile] | None = None

    @handler
    async def measure(self, request: MeasureRestarts, ctx: Context) -> Times:
        """Measure one restart after another."""
        if self._child is None:
            self._child = await ctx.spawn(Fragile)
        return Times(elapsed_ns=[await _restart(self._child) for _ in range(request.count)])


async def _restart(child: Ref[Fragile]) -> int:
    child.tell(Mark())
    assert not (await child.ask(ReadState())).is_fresh
    start_ns = time.perf_counter_ns()
    child.tell(Break())
    state = await child.ask(ReadState())
    elapsed_ns = time.perf_counter_ns() - start_ns
    if not state.is_fresh:
        raise AssertionError("the old incarnation answered after its failure")
    return elapsed_ns


class Monitors(Contract):
    """The watch has reached the other host."""


class WatchIt(Request[Monitors]):
    """Watch this actor."""

    ref: Ref[Any]


class Noticed(Contract):
    """The time and the kind of the notice."""

    at_ns: int
    kind: str


class AwaitNotice(Request[Noticed]):
    """Ask for the notice. The reply waits for it."""


class Watcher(Actor):
    """Watches one actor at a time."""

    concurrency: ClassVar[int] = 2
    """The notice is handled while a request waits for it."""

    def __init__(self) -> None:
        self._noticed: asyncio.Future[Noticed] = asyncio.get_running_loop().create_future()

    @handler
    async def watch(self, request: WatchIt, ctx: Context) -> Monitors:
        """Watch, and wait until the other host knows of it."""
        self._noticed = asyncio.get_running_loop().create_future()
        _ = ctx.watch(request.ref)
        await ctx.ask(ReadState(), request.ref)  # It arrives after the watch.
        return Monitors()

    @handler
    async def down(self, notice: Down) -> None:
        """Note the time."""
        self._noticed.set_result(Noticed(at_ns=time.perf_counter_ns(), kind=str(notice.kind)))

    @handler
    async def await_notice(self, request: AwaitNotice) -> Noticed:
        """Wait for the notice."""
        return await self._noticed


async def _notices(system: System, watcher: Ref[Watcher], count: int) -> list[float]:
    """Milliseconds until the watcher has the notice of a failure."""
    took_ms = []
    for _ in range(count):
        target = await system.spawn(Fragile, host=TARGETS_HOST, restart=Restart.TEMPORARY)
        await watcher.ask(WatchIt(ref=target))
        start_ns = time.perf_counter_ns()
        target.tell(Break())
        took_ms.append(await _noticed(watcher, start_ns, "failed"))
    return took_ms


async def _kills(system: System, watcher: Ref[Watcher], count: int) -> list[float]:
    """Milliseconds until the watcher has the notice of a killed host."""
    target = await system.spawn(Fragile, host=TARGETS_HOST)
    took_ms = []
    for _ in range(count):
        await wait_until_standing(system, standbys=1)
        process_id = (await _read_state(target)).process_id
        await watcher.ask(WatchIt(ref=target))
        start_ns = time.perf_counter_ns()
        os.kill(process_id, signal.SIGKILL)
        took_ms.append(await _noticed(watcher, start_ns, "host_lost"))
    return took_ms


async def _read_state(target: Ref[Fragile]) -> State:
    while True:
        try:
            return await target.ask(ReadState())
        except HostLost:
            continue


async def _noticed(watcher: Ref[Watcher], start_ns: int, kind: str) -> float:
    notice = await watcher.ask(AwaitNotice(), timeout_s=NOTICE_TIMEOUT_S)
    if notice.kind != kind:
        msg = f"the notice says {notice.kind}, not {kind}"
        raise AssertionError(msg)
    return (notice.at_ns - start_ns) / NS_PER_MS


def run(params: Params) -> Outcome:
    """Measure restarts inside the first host, then deaths on the second."""

    async def main(system: System) -> Outcome:
        breaker = await system.spawn(Breaker, host=WATCHERS_HOST)
        await breaker.ask(MeasureRestarts(count=params["warm_up"]))
        measure = MeasureRestarts(count=params["restarts"])
        times = (await breaker.ask(measure, timeout_s=RESTARTS_TIMEOUT_S)).elapsed_ns
        watcher = await system.spawn(Watcher, host=WATCHERS_HOST)
        notices_ms = await _notices(system, watcher, params["notices"])
        kills_ms = await _kills(system, watcher, params["kills"])
        done = {"restarts": len(times), "notices": len(notices_ms), "kills": len(kills_ms)}
        return Outcome(
            median_and_p99("restart_ms", [elapsed_ns / NS_PER_MS for elapsed_ns in times])
            | median_and_worst("notice_of_failure_ms", notices_ms)
            | median_and_worst("notice_of_kill_ms", kills_ms),
            check_of(done),
        )

    return callboard.run(main, hosts=2, standbys=1, host_supervision=KILLED_OFTEN)
