"""Two hundred seeds of `mixed`, and some of each other scenario; `make soak` runs thousands."""

import time

import pytest

from .run import run_seeds
from .scenarios import SCENARIOS

SOAK_SEEDS = 10_000
SOAK_S = 300.0
SEEDS = {"detached": 30, "leases": 20, "keyed": 20, "durable": 20, "aggregators": 20, "streams": 20}
SEEDS_OTHERWISE = 30


def check(name: str, seeds: range) -> None:
    for outcome in run_seeds(name, SCENARIOS[name], seeds):
        assert not outcome.broken, outcome.report()


@pytest.mark.parametrize("first", range(0, 200, 100))
def test_every_invariant_holds_while_everything_breaks(first: int) -> None:
    check("mixed", range(first, first + 100))


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "mixed"])
def test_every_invariant_holds_in(name: str) -> None:
    check(name, range(SEEDS.get(name, SEEDS_OTHERWISE)))


@pytest.mark.soak
@pytest.mark.timeout(3_600)
def test_ten_thousand_seeds_in_five_minutes() -> None:
    began_s = time.process_time()
    check("mixed", range(SOAK_SEEDS))
    assert time.process_time() - began_s < SOAK_S


@pytest.mark.soak
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "mixed"])
def test_two_thousand_seeds_of(name: str) -> None:
    check(name, range(2_000))
