"""The driver of each game: it starts the actors, sends the first messages, and adds up reports."""

from collections.abc import Mapping
from typing import Any

from bench.peers.savina import many_to_many, micro
from bench.peers.savina.role import ActorLibrary, GameDriver
from bench.savina.games import Output, Round, Sizes, first_term, rate_of
from bench.timing import timed

__all__ = ["DRIVERS"]


async def _perform(library: ActorLibrary, firsts: list[tuple[Any, Any]], collector: Any) -> Round:
    """Send the first messages, and wait for the reports."""
    await library.ready()
    with timed() as stopwatch:
        for to, message in firsts:
            await library.tell(to, message)
        counts = await library.reported(collector)
    return stopwatch.elapsed_ns, counts


async def _read(library: ActorLibrary, actors: list[Any], message: str = "read") -> Output:
    """Ask each actor for a report, and give the sums. Not timed."""
    collector = await library.collector(len(actors))
    for actor in actors:
        await library.tell(actor, (message, collector))
    return await library.reported(collector)


async def _ping_pong(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(1)
    ponger = await library.start(micro.Ponger)
    pinger = await library.start(micro.Pinger, collector, ponger, sizes["round_trips"])
    elapsed_ns, counts = await _perform(library, [(pinger, ("begin",))], collector)
    return elapsed_ns, counts | await _read(library, [ponger])


async def _counting(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(1)
    counter = await library.start(micro.Counter, collector)
    producer = await library.start(micro.Producer, counter, sizes["messages"])
    return await _perform(library, [(producer, ("begin",))], collector)


async def _fork_join_throughput(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(sizes["actors"])
    workers = [
        await library.start(micro.Worker, collector, sizes["messages"])
        for _ in range(sizes["actors"])
    ]
    dealer = await library.start(micro.Dealer, workers, sizes["messages"])
    return await _perform(library, [(dealer, ("begin",))], collector)


async def _fork_join_create(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(sizes["actors"])
    await library.ready()
    with timed() as stopwatch:
        for _ in range(sizes["actors"]):
            await library.tell(await library.start(micro.ShortLived, collector), ("work",))
        counts = await library.reported(collector)
    return stopwatch.elapsed_ns, counts


async def _thread_ring(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(1)
    ring = [
        await library.start(micro.Member, collector, place, sizes["hops"])
        for place in range(sizes["actors"])
    ]
    for member, following in zip(ring, ring[1:] + ring[:1], strict=True):
        await library.tell(member, ("join", following))
    return await _perform(library, [(ring[0], ("token", sizes["hops"]))], collector)


async def _chameneos(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(sizes["creatures"])
    mall = await library.start(many_to_many.Mall, sizes["meetings"])
    creatures = [
        await library.start(many_to_many.Creature, collector, mall, number % many_to_many.COLOURS)
        for number in range(sizes["creatures"])
    ]
    return await _perform(library, [(creature, ("begin",)) for creature in creatures], collector)


async def _big(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(sizes["actors"])
    members = [
        await library.start(many_to_many.Member, collector, number, sizes["pings"])
        for number in range(sizes["actors"])
    ]
    for member in members:
        await library.tell(member, ("join", members))
    elapsed_ns, counts = await _perform(library, [(m, ("begin",)) for m in members], collector)
    return elapsed_ns, counts | await _read(library, members)


async def _concurrent_dictionary(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(sizes["workers"])
    dictionary = await library.start(many_to_many.Dictionary)
    readers = [
        await library.start(many_to_many.Reader, collector, dictionary, number, sizes["operations"])
        for number in range(sizes["workers"])
    ]
    elapsed_ns, _ = await _perform(library, [(reader, ("begin",)) for reader in readers], collector)
    return elapsed_ns, await _read(library, [dictionary])


async def _bounded_buffer(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(1 + sizes["consumers"])
    buffer = await library.start(many_to_many.Buffer, collector, dict(sizes))
    producers = [
        await library.start(many_to_many.Producer, buffer, number, sizes["items"])
        for number in range(sizes["producers"])
    ]
    consumers = [
        await library.start(many_to_many.Consumer, collector, buffer)
        for _ in range(sizes["consumers"])
    ]
    firsts = [(consumer, ("begin",)) for consumer in consumers]
    return await _perform(library, firsts + [(p, ("produce",)) for p in producers], collector)


async def _dining_philosophers(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(sizes["philosophers"])
    arbiter = await library.start(many_to_many.Arbiter, sizes["philosophers"])
    philosophers = [
        await library.start(many_to_many.Philosopher, collector, arbiter, seat, sizes["meals"])
        for seat in range(sizes["philosophers"])
    ]
    return await _perform(library, [(p, ("begin",)) for p in philosophers], collector)


async def _sleeping_barber(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(1)
    room = await library.start(many_to_many.WaitingRoom, sizes["chairs"])
    await library.tell(room, ("assign_barber", await library.start(many_to_many.Barber, room)))
    factory = await library.start(many_to_many.Factory, collector, room, dict(sizes))
    return await _perform(library, [(factory, ("begin",))], collector)


async def _cigarette_smokers(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(1)
    arbiter = await library.start(many_to_many.SmokeArbiter, collector, sizes["turns"])
    smokers = [
        await library.start(many_to_many.Smoker, arbiter, place)
        for place in range(sizes["smokers"])
    ]
    await library.tell(arbiter, ("meet", smokers))
    elapsed_ns, counts = await _perform(library, [(arbiter, ("begin",))], collector)
    return elapsed_ns, counts | await _read(library, smokers)


async def _logistic_map(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(1)
    series = []
    for number in range(sizes["series"]):
        computer = await library.start(micro.Computer, rate_of(number))
        series.append(await library.start(micro.Series, computer, first_term(number), number))
    master = await library.start(micro.Master, collector, series, sizes["terms"])
    return await _perform(library, [(master, ("begin",))], collector)


async def _banking(library: ActorLibrary, sizes: Sizes) -> Round:
    collector = await library.collector(1)
    accounts = [await library.start(micro.Account, place) for place in range(sizes["accounts"])]
    teller = await library.start(micro.Teller, collector, accounts, sizes["transfers"])
    elapsed_ns, counts = await _perform(library, [(teller, ("begin",))], collector)
    return elapsed_ns, counts | await _read(library, accounts)


DRIVERS: Mapping[str, GameDriver] = {
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
