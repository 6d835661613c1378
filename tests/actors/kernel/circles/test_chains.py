"""Chains drawn at random, over simulated hosts: exactly those that come back are circles."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.messages.core.errors import CircularAsk
from callboard.messages.core.ref import Ref
from callboard.testing import Simulation, simulate
from tests.thoroughness import examples

from .test_circles import Forward, Node, Slow, Two, Visit

HOSTS = 3
DEADLINE_S = 20.0
AT_ONCE_S = 2.0
"""In virtual seconds: a search, and the messages of others that it may have to wait for."""


def comes_back_to(way: list[int], concurrencies: list[int]) -> int | None:
    """The first actor of a way whose handlers all wait already when it is asked once more."""
    asked = [0] * len(concurrencies)
    for actor in way:
        asked[actor] += 1
        if asked[actor] > concurrencies[actor]:
            return actor
    return None


@settings(max_examples=examples(80))
@given(
    concurrencies=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=5),
    data=st.data(),
    seed=st.integers(0, 2**16),
)
def test_exactly_the_chains_that_come_back_are_circles(
    concurrencies: list[int], data: st.DataObject, seed: int
) -> None:
    number = st.integers(0, len(concurrencies) - 1)
    way = data.draw(st.lists(number, min_size=1, max_size=8), "way")
    busy = data.draw(st.lists(number, max_size=3), "actors that are busy with others")

    async def scenario(sim: Simulation) -> None:
        refs: list[Ref[Any]] = [
            await sim.system.spawn(
                Two if count == 2 else Node, name=f"a{place}", host=1 + place % HOSTS
            )
            for place, count in enumerate(concurrencies)
        ]
        slow = await sim.system.spawn(Slow, host=1)
        others = [
            asyncio.ensure_future(refs[actor].ask(Forward(first=Visit(), to=(slow,))))
            for actor in busy
        ]
        first, *rest = (refs[actor] for actor in way)
        began_s = sim.now_s
        outcome = await asyncio.gather(
            first.ask(Visit(way=tuple(rest)), timeout_s=DEADLINE_S), return_exceptions=True
        )
        await asyncio.gather(*others)
        back = comes_back_to(way, concurrencies)
        if back is None:
            assert not isinstance(outcome[0], BaseException), outcome
            assert outcome[0].names == tuple(f"/a{actor}" for actor in way)
            return
        assert isinstance(outcome[0], CircularAsk), outcome
        actors = [name.partition(" ")[0] for name in outcome[0].details["actors"]]
        until = next(
            place
            for place in range(len(way))
            if comes_back_to(way[: place + 1], concurrencies) is not None
        )
        assert actors[-1] == f"/a{back}" == actors[0]
        # From the oldest handler of that actor on.
        assert actors == [f"/a{actor}" for actor in way[way.index(back) : until + 1]]
        assert sim.now_s - began_s < AT_ONCE_S

    simulate(scenario, seed=seed, hosts=HOSTS, standbys=0)
