"""`million`: a million actors in one system, each of which answers once.

It runs twice: with children, which an actor on each host spawns and asks there; and with top-level
actors, which the driver starts and asks through the root. The root records them so that they can
restart elsewhere. The memory is the growth of the private memory of all hosts; for the second run
also that of the driver's process, which holds the root.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

import callboard
from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of
from bench.timing import timed
from callboard import Actor, Context, Contract, Ref, Request, System, handler
from callboard.actors.kernel.props import props

__all__ = ["TIMEOUT_S", "SpawnAll", "parents_on", "run"]

SPAWNED_AT_ONCE = 500
"""Spawns per turn of the event loop, so that the host keeps its heartbeats."""
ASKED_AT_ONCE = 2_000
TIMEOUT_S = 600.0
ASK_TIMEOUT_S = 120.0


class Number(Contract):
    """The number of an actor."""

    number: int


class ReadNumber(Request[Number]):
    """Ask for it."""


class Worker(Actor):
    """Has a number."""

    def __init__(self, number: int) -> None:
        self._number = number

    @handler
    async def number(self, request: ReadNumber) -> Number:
        """Give the number."""
        return Number(number=self._number)


class Weight(Contract):
    """The private memory of a host's process."""

    size_bytes: int


class Weigh(Request[Weight]):
    """Ask for it."""


class SpawnAll(Request[Weight]):
    """Spawn children with these numbers. The reply is the growth of the memory."""

    first: int
    count: int


class Sum(Contract):
    """The number of answers, and the sum of the numbers."""

    count: int
    total: int


class AskAll(Request[Sum]):
    """Ask every child once."""


class Parent(Actor):
    """Has the children of its host."""

    def __init__(self) -> None:
        self._children: list[Ref[Worker]] = []

    @handler
    async def weigh(self, request: Weigh) -> Weight:
        """Give the memory of its process now."""
        return Weight(size_bytes=own_bytes())

    @handler
    async def spawn_all(self, request: SpawnAll, ctx: Context) -> Weight:
        """Spawn the children, and measure their memory."""
        # One extra spawn first, so that one-time costs do not count.
        await ctx.spawn(props(Worker, 0))
        before_bytes = own_bytes()
        for number in range(request.first, request.first + request.count):
            self._children.append(await ctx.spawn(props(Worker, number)))
            if not number % SPAWNED_AT_ONCE:
                await asyncio.sleep(0)
        return Weight(size_bytes=own_bytes() - before_bytes)

    @handler
    async def ask_all(self, request: AskAll) -> Sum:
        """Ask every child."""
        return await _ask_each(self._children)


async def _ask_each(workers: Sequence[Ref[Worker]]) -> Sum:
    count = total = 0
    for start in range(0, len(workers), ASKED_AT_ONCE):
        asks = [worker.ask(ReadNumber()) for worker in workers[start : start + ASKED_AT_ONCE]]
        for ask in asks:
            total += (await ask).number
            count += 1
    return Sum(count=count, total=total)


Way: TypeAlias = tuple[dict[str, float], Sum]


async def parents_on(system: System, hosts: int) -> list[Ref[Parent]]:
    """An actor on each host that spawns children there."""
    return [await system.spawn(Parent, host=number + 1) for number in range(hosts)]


async def _children(system: System, params: Params) -> Way:
    """Spawn and ask children on their own hosts."""
    actors = params["actors"]
    parents = await parents_on(system, params["hosts"])
    bounds = [actors * turn // len(parents) for turn in range(len(parents) + 1)]
    with timed() as created:
        grown = await asyncio.gather(
            *(
                parent.ask(SpawnAll(first=first, count=end - first), timeout_s=TIMEOUT_S)
                for parent, (first, end) in zip(parents, itertools.pairwise(bounds), strict=True)
            )
        )
    with timed() as answered:
        sums = await asyncio.gather(
            *(parent.ask(AskAll(), timeout_s=TIMEOUT_S) for parent in parents)
        )
    results = {
        "created_per_s": created.per_s(actors),
        "answered_per_s": answered.per_s(actors),
        "bytes_per_actor": sum(weight.size_bytes for weight in grown) / actors,
    }
    return results, Sum(count=sum(s.count for s in sums), total=sum(s.total for s in sums))


async def _top_level(system: System, params: Params) -> Way:
    """Start and ask actors from the driver."""
    actors = params["actors"]
    parents = await parents_on(system, params["hosts"])
    before_bytes = [(await parent.ask(Weigh())).size_bytes for parent in parents]
    driver_bytes = own_bytes()
    with timed() as created:
        workers = await system.spawn_many(props(Worker, number) for number in range(actors))
    driver_grown = own_bytes() - driver_bytes
    after_bytes = [(await parent.ask(Weigh())).size_bytes for parent in parents]
    with timed() as answered:
        found = await _ask_each(workers)
    results = {
        "top_level_created_per_s": created.per_s(actors),
        "top_level_answered_per_s": answered.per_s(actors),
        "bytes_per_top_level_actor": (sum(after_bytes) - sum(before_bytes)) / actors,
        "bytes_per_top_level_actor_in_driver": driver_grown / actors,
    }
    return results, found


def run(params: Params) -> Outcome:
    """Run both in systems of their own, so that neither reuses the memory of the other."""

    def run_in_system(way: Callable[[System, Params], Coroutine[Any, Any, Way]]) -> Way:
        return callboard.run(
            lambda system: way(system, params),
            hosts=params["hosts"],
            standbys=0,
            ask_timeout_s=ASK_TIMEOUT_S,
        )

    results, found = run_in_system(_children)
    if params["top_level"]:
        more, found_again = run_in_system(_top_level)
        results |= more
        if found_again != found:
            msg = f"as top-level actors they answered {found_again}, as children {found}"
            raise AssertionError(msg)
    return Outcome(results, check_of({"actors": found.count, "sum": found.total}))
