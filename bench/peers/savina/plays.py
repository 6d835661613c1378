"""Each game from outside: who is started, what is told, what is added up."""

from collections.abc import Mapping
from typing import Any

from bench.peers.savina import crowds, micro
from bench.peers.savina.role import Play, Stage
from bench.savina.games import Output, Round, Sizes, first_term, rate_of
from bench.timing import timed

__all__ = ["PLAYS"]


async def _perform(stage: Stage, firsts: list[tuple[Any, Any]], collector: Any) -> Round:
    """Tell the first messages and wait for the reports."""
    await stage.ready()
    with timed() as stopwatch:
        for to, message in firsts:
            await stage.tell(to, message)
        counts = await stage.reported(collector)
    return stopwatch.elapsed_ns, counts


async def _read(stage: Stage, actors: list[Any], message: str = "read") -> Output:
    """The sums over what each actor reports of itself; not timed."""
    collector = await stage.collector(len(actors))
    for actor in actors:
        await stage.tell(actor, (message, collector))
    return await stage.reported(collector)


async def _ping_pong(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(1)
    ponger = await stage.start(micro.Ponger)
    pinger = await stage.start(micro.Pinger, collector, ponger, sizes["round_trips"])
    elapsed_ns, counts = await _perform(stage, [(pinger, ("begin",))], collector)
    return elapsed_ns, counts | await _read(stage, [ponger])


async def _counting(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(1)
    counter = await stage.start(micro.Counter, collector)
    producer = await stage.start(micro.Producer, counter, sizes["messages"])
    return await _perform(stage, [(producer, ("begin",))], collector)


async def _fork_join_throughput(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(sizes["actors"])
    workers = [
        await stage.start(micro.Worker, collector, sizes["messages"])
        for _ in range(sizes["actors"])
    ]
    dealer = await stage.start(micro.Dealer, workers, sizes["messages"])
    return await _perform(stage, [(dealer, ("begin",))], collector)


async def _fork_join_create(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(sizes["actors"])
    await stage.ready()
    with timed() as stopwatch:
        for _ in range(sizes["actors"]):
            await stage.tell(await stage.start(micro.ShortLived, collector), ("work",))
        counts = await stage.reported(collector)
    return stopwatch.elapsed_ns, counts


async def _thread_ring(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(1)
    ring = [
        await stage.start(micro.Member, collector, place, sizes["hops"])
        for place in range(sizes["actors"])
    ]
    for member, following in zip(ring, ring[1:] + ring[:1], strict=True):
        await stage.tell(member, ("join", following))
    return await _perform(stage, [(ring[0], ("token", sizes["hops"]))], collector)


async def _chameneos(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(sizes["creatures"])
    mall = await stage.start(crowds.Mall, sizes["meetings"])
    creatures = [
        await stage.start(crowds.Creature, collector, mall, number % crowds.COLOURS)
        for number in range(sizes["creatures"])
    ]
    return await _perform(stage, [(creature, ("begin",)) for creature in creatures], collector)


async def _big(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(sizes["actors"])
    members = [
        await stage.start(crowds.Member, collector, number, sizes["pings"])
        for number in range(sizes["actors"])
    ]
    for member in members:
        await stage.tell(member, ("join", members))
    elapsed_ns, counts = await _perform(stage, [(m, ("begin",)) for m in members], collector)
    return elapsed_ns, counts | await _read(stage, members)


async def _concurrent_dictionary(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(sizes["workers"])
    dictionary = await stage.start(crowds.Dictionary)
    readers = [
        await stage.start(crowds.Reader, collector, dictionary, number, sizes["operations"])
        for number in range(sizes["workers"])
    ]
    elapsed_ns, _ = await _perform(stage, [(reader, ("begin",)) for reader in readers], collector)
    return elapsed_ns, await _read(stage, [dictionary])


async def _bounded_buffer(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(1 + sizes["consumers"])
    buffer = await stage.start(crowds.Buffer, collector, dict(sizes))
    producers = [
        await stage.start(crowds.Producer, buffer, number, sizes["items"])
        for number in range(sizes["producers"])
    ]
    consumers = [
        await stage.start(crowds.Consumer, collector, buffer) for _ in range(sizes["consumers"])
    ]
    firsts = [(consumer, ("begin",)) for consumer in consumers]
    return await _perform(stage, firsts + [(p, ("produce",)) for p in producers], collector)


async def _dining_philosophers(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(sizes["philosophers"])
    arbiter = await stage.start(crowds.Arbiter, sizes["philosophers"])
    philosophers = [
        await stage.start(crowds.Philosopher, collector, arbiter, seat, sizes["meals"])
        for seat in range(sizes["philosophers"])
    ]
    return await _perform(stage, [(p, ("begin",)) for p in philosophers], collector)


async def _sleeping_barber(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(1)
    room = await stage.start(crowds.WaitingRoom, sizes["chairs"])
    await stage.tell(room, ("hire", await stage.start(crowds.Barber, room)))
    factory = await stage.start(crowds.Factory, collector, room, dict(sizes))
    return await _perform(stage, [(factory, ("begin",))], collector)


async def _cigarette_smokers(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(1)
    arbiter = await stage.start(crowds.SmokeArbiter, collector, sizes["turns"])
    smokers = [
        await stage.start(crowds.Smoker, arbiter, place) for place in range(sizes["smokers"])
    ]
    await stage.tell(arbiter, ("meet", smokers))
    elapsed_ns, counts = await _perform(stage, [(arbiter, ("begin",))], collector)
    return elapsed_ns, counts | await _read(stage, smokers)


async def _logistic_map(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(1)
    series = []
    for number in range(sizes["series"]):
        computer = await stage.start(micro.Computer, rate_of(number))
        series.append(await stage.start(micro.Series, computer, first_term(number), number))
    master = await stage.start(micro.Master, collector, series, sizes["terms"])
    return await _perform(stage, [(master, ("begin",))], collector)


async def _banking(stage: Stage, sizes: Sizes) -> Round:
    collector = await stage.collector(1)
    accounts = [await stage.start(micro.Account, place) for place in range(sizes["accounts"])]
    teller = await stage.start(micro.Teller, collector, accounts, sizes["transfers"])
    elapsed_ns, counts = await _perform(stage, [(teller, ("begin",))], collector)
    return elapsed_ns, counts | await _read(stage, accounts)


PLAYS: Mapping[str, Play] = {
    "ping_pong": _ping_pong,
    "counting": _counting,
    "fork_join_throughput": _fork_join_throughput,
    "fork_join_create": _fork_join_create,
    "thread_ring": _thread_ring,
    "chameneos": _chameneos,
    "big": _big,
    "concurrent_dictionary": _concurrent_dictionary,
    "bounded_buffer": _bounded_buffer,
    "dining_philosophers": _dining_philosophers,
    "sleeping_barber": _sleeping_barber,
    "cigarette_smokers": _cigarette_smokers,
    "logistic_map": _logistic_map,
    "banking": _banking,
}
