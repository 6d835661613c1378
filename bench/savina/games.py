"""The games: their figures, the formulas every side shares, and the output each must reach.

A game that draws random numbers in Savina uses a formula here, so that every side does the same
work and its output is known in advance. Busy loops are left out, because they measure the
processor, not the messages.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bench.outcome import Outcome, Params, check_of
from bench.timing import NS_PER_S

__all__ = [
    "BALANCE",
    "GAMES",
    "SEPARATOR",
    "Game",
    "Output",
    "Round",
    "Sizes",
    "expected_savina",
    "first_term",
    "game_named",
    "games_in",
    "is_write",
    "key_of",
    "outcome_of",
    "rate_of",
    "sizes_of",
    "smoker_of",
    "term_bits",
    "transfer_of",
]

Sizes: TypeAlias = Mapping[str, int]
Output: TypeAlias = dict[str, int]
Round: TypeAlias = tuple[int, Output]
"""The duration of a game in nanoseconds, and its output."""

SEPARATOR = "."
"""Separates the game and the size in the name of a parameter: `ping_pong.round_trips`."""
WRITE_EVERY = 10
"""One operation in ten on the dictionary is a write."""
KEYS = 524_288
FIRST_RATE, RATE_STEP = 3.46, 0.0025
BALANCE = 1_000_000
"""The first balance of each account."""


@dataclass(frozen=True, slots=True)
class Game:
    """One benchmark of the suite."""

    name: str
    unit: str
    """The counted unit. The figure is called `NAME_UNIT_per_s`."""
    what: str
    """The game, in one line of the docs."""
    units: Callable[[Sizes], int]
    output: Callable[[Sizes], Output]

    @property
    def figure(self) -> str:
        """The name of its figure."""
        return f"{self.name}_{self.unit}_per_s"


def key_of(worker: int, operation: int) -> int:
    """The key that a worker's operation is about."""
    return (worker * 7_919 + operation * 104_729) % KEYS


def is_write(operation: int) -> bool:
    """Whether an operation on the dictionary writes."""
    return operation % WRITE_EVERY == 0


def smoker_of(turn: int, smokers: int) -> int:
    """The smoker of a turn."""
    return turn * 7_919 % smokers


def rate_of(series: int) -> float:
    """The growth rate of a series of the logistic map."""
    return FIRST_RATE + series * RATE_STEP


def first_term(series: int) -> float:
    """The first term of a series."""
    return (series + 1) * RATE_STEP


def term_bits(terms: Iterable[float]) -> int:
    """The sum of the last terms, in order, as the bits of a double: exact in any language."""
    total = 0.0
    for term in terms:
        total += term
    bits: int = struct.unpack(">Q", struct.pack(">d", total))[0]
    return bits


def transfer_of(number: int, accounts: int) -> tuple[int, int, int]:
    """Source, target and amount of a transfer; always upwards, so that no deadlock is possible."""
    source = number * 7_919 % (accounts * 8 // 10)
    target = source + 1 + number * 104_729 % (accounts - source - 1)
    return source, target, number % 1_000 + 1


def _dictionary(sizes: Sizes) -> Output:
    workers, operations = sizes["workers"], sizes["operations"]
    written = {
        key_of(worker, operation)
        for worker in range(workers)
        for operation in range(operations)
        if is_write(operation)
    }
    writes = workers * -(-operations // WRITE_EVERY)
    return {
        "reads": workers * operations - writes,
        "writes": writes,
        "entries": len(written),
        "values": sum(written),
    }


def _buffer(sizes: Sizes) -> Output:
    items = sizes["producers"] * sizes["items"]
    return {"consumed": items, "values": items * (items - 1) // 2, "over_capacity": 0}


def _smokers(sizes: Sizes) -> Output:
    turns, smokers = sizes["turns"], sizes["smokers"]
    return {"smoked": turns, "by_smoker": sum(smoker_of(n, smokers) + 1 for n in range(turns))}


def _logistic_map(sizes: Sizes) -> Output:
    def last_terms() -> Iterator[float]:
        for series in range(sizes["series"]):
            rate, term = rate_of(series), first_term(series)
            for _ in range(sizes["terms"]):
                term = rate * term * (1 - term)
            yield term

    return {"terms": sizes["series"] * sizes["terms"], "sum_bits": term_bits(last_terms())}


def _banking(sizes: Sizes) -> Output:
    balances = [BALANCE] * sizes["accounts"]
    for number in range(sizes["transfers"]):
        source, target, amount = transfer_of(number, sizes["accounts"])
        balances[source] -= amount
        balances[target] += amount
    return {
        "transfers": sizes["transfers"],
        "total": sum(balances),
        "by_account": sum((place + 1) * balance for place, balance in enumerate(balances)),
    }


GAMES: tuple[Game, ...] = (
    Game(
        "ping_pong",
        "messages",
        "two actors send one message back and forth",
        lambda s: 2 * s["round_trips"],
        lambda s: {"pings": s["round_trips"], "pongs": s["round_trips"]},
    ),
    Game(
        "counting",
        "messages",
        "one actor sends another actor numbers to count, then asks for the sum",
        lambda s: s["messages"],
        lambda s: {"count": s["messages"]},
    ),
    Game(
        "fork_join_throughput",
        "messages",
        "many actors share the messages, and compute a sine for each",
        lambda s: s["actors"] * s["messages"],
        lambda s: {"handled": s["actors"] * s["messages"]},
    ),
    Game(
        "fork_join_create",
        "actors",
        "each new actor gets one message and ends itself",
        lambda s: s["actors"],
        lambda s: {"finished": s["actors"]},
    ),
    Game(
        "thread_ring",
        "hops",
        "a token goes round a ring of actors",
        lambda s: s["hops"],
        lambda s: {"hops": s["hops"], "last": s["hops"] % s["actors"]},
    ),
    Game(
        "chameneos",
        "meetings",
        "creatures meet in pairs at one mall and change colours",
        lambda s: s["meetings"],
        lambda s: {"met": 2 * s["meetings"]},
    ),
    Game(
        "big",
        "messages",
        "many to many: each actor pings others in random order, one at a time",
        lambda s: 2 * s["actors"] * s["pings"],
        lambda s: {"pings": s["actors"] * s["pings"], "pongs": s["actors"] * s["pings"]},
    ),
    Game(
        "concurrent_dictionary",
        "operations",
        "workers read from and write to one dictionary (one in ten writes)",
        lambda s: s["workers"] * s["operations"],
        _dictionary,
    ),
    Game(
        "bounded_buffer",
        "items",
        "producers and consumers around a buffer with a limit",
        lambda s: s["producers"] * s["items"],
        _buffer,
    ),
    Game(
        "dining_philosophers",
        "meals",
        "philosophers ask an arbiter for two forks, and ask again after a refusal",
        lambda s: s["philosophers"] * s["meals"],
        lambda s: {"meals": s["philosophers"] * s["meals"]},
    ),
    Game(
        "sleeping_barber",
        "haircuts",
        "each customer is an actor; customers wait on chairs for one barber, "
        "and return when there is no free chair",
        lambda s: s["customers"],
        lambda s: {"haircuts": s["customers"]},
    ),
    Game(
        "cigarette_smokers",
        "turns",
        "an arbiter starts one of many smokers after another",
        lambda s: s["turns"],
        _smokers,
    ),
    Game(
        "logistic_map",
        "terms",
        "series of numbers; another actor computes each term",
        lambda s: s["series"] * s["terms"],
        _logistic_map,
    ),
    Game(
        "banking",
        "transfers",
        "a teller orders transfers between accounts; one account asks the other",
        lambda s: s["transfers"],
        _banking,
    ),
)


def game_named(name: str) -> Game:
    """The game of that name. Raises `KeyError`."""
    return {game.name: game for game in GAMES}[name]


def games_in(params: Params) -> list[Game]:
    """The games with sizes among the parameters, in the suite's order."""
    names = {name.partition(SEPARATOR)[0] for name in params}
    return [game for game in GAMES if game.name in names]


def sizes_of(game: Game, params: Params) -> dict[str, int]:
    """The sizes of one game, without its name as prefix."""
    prefix = game.name + SEPARATOR
    return {
        name.removeprefix(prefix): size for name, size in params.items() if name.startswith(prefix)
    }


def expected_savina(params: Params) -> str:
    """The check over the outputs of all games with sizes."""
    return check_of({game.name: game.output(sizes_of(game, params)) for game in games_in(params)})


def outcome_of(params: Params, rounds: Mapping[str, Round], notes: tuple[str, ...] = ()) -> Outcome:
    """The figures of all games in `rounds`.

    Raises:
        AssertionError: if the output of a game is wrong; it names the game.
    """
    results = {}
    for game in games_in(params):
        sizes = sizes_of(game, params)
        elapsed_ns, output = rounds[game.name]
        expected = game.output(sizes)
        if output != expected:
            msg = f"{game.name} {sizes} gave {output}, expected {expected}"
            raise AssertionError(msg)
        results[game.figure] = game.units(sizes) / (max(elapsed_ns, 1) / NS_PER_S)
    outputs = {name: output for name, (_, output) in rounds.items()}
    return Outcome(results, check_of(outputs), notes)
