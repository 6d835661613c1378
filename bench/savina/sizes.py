"""The sizes of each side, and the games that it cannot run, with the reason.

Our sizes are those of the suite, scaled so that a game takes one to three seconds on two cores.
Erlang has the same sizes. Slower sides have fewer messages, and the rates are compared.
"""

from collections.abc import Mapping
from typing import Final

from bench.savina.games import GAMES, SEPARATOR

__all__ = ["FULL", "PYKKA", "RAY", "RAY_CANNOT", "RAY_SMOKE", "SMOKE", "XOSCAR"]

BASE: Final = {
    "ping_pong": {"round_trips": 150_000},
    "counting": {"messages": 1_000_000},
    "fork_join_throughput": {"actors": 60, "messages": 5_000},
    "fork_join_create": {"actors": 40_000},
    "thread_ring": {"actors": 100, "hops": 250_000},
    "chameneos": {"creatures": 100, "meetings": 100_000},
    "big": {"actors": 120, "pings": 1_500},
    "concurrent_dictionary": {"workers": 20, "operations": 4_000},
    "bounded_buffer": {"producers": 40, "consumers": 40, "capacity": 50, "items": 2_000},
    "dining_philosophers": {"philosophers": 20, "meals": 2_000},
    "sleeping_barber": {"customers": 10_000, "chairs": 1_000, "at_once": 1_008},
    "cigarette_smokers": {"smokers": 200, "turns": 200_000},
    "logistic_map": {"series": 10, "terms": 5_000},
    "banking": {"accounts": 1_000, "transfers": 50_000},
}


def _params(
    changes: Mapping[str, Mapping[str, int]], base: Mapping[str, Mapping[str, int]] = BASE
) -> dict[str, int]:
    """The parameters of the games in `base`, with some sizes changed."""
    return {
        f"{game.name}{SEPARATOR}{size}": changes.get(game.name, {}).get(size, count)
        for game in GAMES
        if game.name in base
        for size, count in base[game.name].items()
    }


FULL: Final = _params({})

PYKKA: Final = _params(
    {
        "ping_pong": {"round_trips": 10_000},
        "counting": {"messages": 200_000},
        "fork_join_throughput": {"messages": 2_000},
        "fork_join_create": {"actors": 2_000},
        "thread_ring": {"hops": 20_000},
        "chameneos": {"meetings": 5_000},
        "big": {"pings": 200},
        "concurrent_dictionary": {"operations": 1_000},
        "bounded_buffer": {"items": 250},
        "dining_philosophers": {"meals": 500},
        "sleeping_barber": {"customers": 1_000, "chairs": 100, "at_once": 108},
        "cigarette_smokers": {"turns": 20_000},
        "logistic_map": {"terms": 1_000},
        "banking": {"accounts": 200, "transfers": 10_000},
    }
)
"""Fewer accounts and customers too, because each is a thread."""

XOSCAR: Final = _params(
    {
        "ping_pong": {"round_trips": 5_000},
        "counting": {"messages": 20_000},
        "fork_join_throughput": {"messages": 300},
        "fork_join_create": {"actors": 3_000},
        "thread_ring": {"hops": 10_000},
        "chameneos": {"meetings": 3_000},
        "big": {"pings": 50},
        "concurrent_dictionary": {"operations": 300},
        "bounded_buffer": {"items": 100},
        "dining_philosophers": {"meals": 200},
        "sleeping_barber": {"customers": 1_500, "chairs": 100, "at_once": 108},
        "cigarette_smokers": {"turns": 10_000},
        "logistic_map": {"terms": 500},
        "banking": {"transfers": 4_000},
    }
)

_RAY_BASE: Final = {
    "ping_pong": {"round_trips": 1_000},
    "counting": {"messages": 5_000},
    "fork_join_throughput": {"actors": 4, "messages": 1_000},
    "fork_join_create": {"actors": 8},
    "thread_ring": {"actors": 4, "hops": 2_000},
    "chameneos": {"creatures": 4, "meetings": 500},
    "big": {"actors": 4, "pings": 250},
    "concurrent_dictionary": {"workers": 4, "operations": 250},
    "bounded_buffer": {"producers": 2, "consumers": 2, "capacity": 4, "items": 250},
    "dining_philosophers": {"philosophers": 4, "meals": 100},
    "cigarette_smokers": {"smokers": 4, "turns": 1_000},
    "logistic_map": {"series": 2, "terms": 500},
    "banking": {"accounts": 8, "transfers": 1_000},
}
RAY: Final = _params({}, _RAY_BASE)
"""An actor is a process of about 100 MB, so each game has only a few."""

RAY_CANNOT: Final = {
    "sleeping_barber": "each customer would be a process that starts for one haircut",
}

_SMOKE_BASE: Final = {
    "ping_pong": {"round_trips": 50},
    "counting": {"messages": 100},
    "fork_join_throughput": {"actors": 3, "messages": 20},
    "fork_join_create": {"actors": 20},
    "thread_ring": {"actors": 5, "hops": 52},
    "chameneos": {"creatures": 5, "meetings": 20},
    "big": {"actors": 5, "pings": 10},
    "concurrent_dictionary": {"workers": 3, "operations": 25},
    "bounded_buffer": {"producers": 3, "consumers": 2, "capacity": 6, "items": 20},
    "dining_philosophers": {"philosophers": 5, "meals": 10},
    "sleeping_barber": {"customers": 30, "chairs": 4, "at_once": 7},
    "cigarette_smokers": {"smokers": 7, "turns": 20},
    "logistic_map": {"series": 3, "terms": 20},
    "banking": {"accounts": 10, "transfers": 40},
}
SMOKE: Final = _params({}, _SMOKE_BASE)
RAY_SMOKE: Final = _params({}, {"ping_pong": _SMOKE_BASE["ping_pong"]})
"""One game is enough to check that Ray's side still runs, because its processes start slowly."""
