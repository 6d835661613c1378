"""`spawn`: actors started within one host, all alive at once, each then asked for its number.

`actors_per_s` is `Context.spawn`, one after another, as in an actor that starts children, and as in
the peers. `top_level_actors_per_s` is `System.spawn_many`: another process, the driver, starts them
through the root, which records them so that they can restart elsewhere when their host dies.
"""

import callboard
from bench.memory import own_bytes
from bench.outcome import Outcome, Params, check_of_each
from bench.timing import NS_PER_S, timed
from callboard import Agent, Context, Contract, Ref, Request, System, handler
from callboard.actors.kernel.props import props

__all__ = ["run"]

SPAWN_TIMEOUT_S = 120.0
BLOCKED_S = 60.0
"""A parent that starts 100,000 children without a pause blocks its host, on purpose."""
ASKED_AT_ONCE = 2_000


class Number(Contract):
    """The number of an actor."""

    number: int


class ReadNumber(Request[Number]):
    """Ask for the number."""


class Spawned(Contract):
    """The duration, the memory of all children together, and the number of each."""

    elapsed_ns: int
    size_bytes: int
    numbers: list[int]


class SpawnAll(Request[Spawned]):
    """Spawn a number of children."""

    count: int


class Worker(Agent):
    """Has a number."""

    def __init__(self, number: int) -> None:
        self._number = number

    @handler
    async def number(self, request: ReadNumber) -> Number:
        """Give the number."""
        return Number(number=self._number)


class Parent(Agent):
    """Spawns children."""

    @handler
    async def spawn_all(self, request: SpawnAll, ctx: Context) -> Spawned:
        """Spawn the children, measure their memory, ask each."""
        # One extra spawn first, so that one-time costs do not count.
        await ctx.spawn(props(Worker, 0))
        before_bytes = own_bytes()
        with timed() as stopwatch:
            workers = [await ctx.spawn(props(Worker, number)) for number in range(request.count)]
        size_bytes = own_bytes() - before_bytes
        return Spawned(
            elapsed_ns=stopwatch.elapsed_ns,
            size_bytes=size_bytes,
            numbers=await _numbers(workers),
        )


async def _numbers(workers: list[Ref[Worker]]) -> list[int]:
    numbers: list[int] = []
    for start in range(0, len(workers), ASKED_AT_ONCE):
        asks = [worker.ask(ReadNumber()) for worker in workers[start : start + ASKED_AT_ONCE]]
        numbers += [(await ask).number for ask in asks]
    return numbers


def run(params: Params) -> Outcome:
    """Spawn within the process of one host."""
    count = params["actors"]

    async def main(system: System) -> Outcome:
        parent = await system.spawn(Parent)
        spawned = await parent.ask(SpawnAll(count=count), timeout_s=SPAWN_TIMEOUT_S)
        await system.stop(parent)
        with timed() as top_level:
            workers = await system.spawn_many(props(Worker, number) for number in range(count))
        if await _numbers(workers) != spawned.numbers:
            msg = "top-level actors do not answer with the numbers they were given"
            raise AssertionError(msg)
        return Outcome(
            {
                "actors_per_s": count / (max(spawned.elapsed_ns, 1) / NS_PER_S),
                "bytes_per_actor": spawned.size_bytes / count,
                "top_level_actors_per_s": top_level.per_s(count),
            },
            check_of_each(spawned.numbers),
        )

    return callboard.run(main, hosts=1, standbys=0, blocked_s=BLOCKED_S)
