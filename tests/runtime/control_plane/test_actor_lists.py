"""Lists of all actors by pages: none twice, none left out, whatever starts and ends meanwhile."""

import asyncio
import random
from typing import Any

import pytest

import callboard as cb
from callboard import Actor, System
from callboard.actors.kernel.inspection import listing
from callboard.actors.kernel.props import props
from callboard.messages.control.views import ActorRow, QueryActors


class Idle(Actor):
    """Does nothing."""


class Never(cb.Contract, name="lists.never"):
    """No answer."""


class Fail(cb.Request[Never], name="lists.fail"):
    """Fail."""


class Failing(Actor):
    """Fails when it is asked to."""

    @cb.handler
    async def fail(self, request: Fail) -> Never:
        raise ValueError("on purpose")


async def pages(system: System, **options: Any) -> list[ActorRow]:
    """All pages of a list, one after the other."""
    found: list[ActorRow] = []
    slot, cell = 0, -1
    while True:
        page = await system._spawner().ask_root(QueryActors(slot=slot, cell=cell, **options))
        found += page.items
        if not page.has_more:
            return found
        slot, cell = page.slot, page.cell


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("probes", "part"), [(10_000, 2_000), (3, 2), (3, 1)])
async def test_actors_that_live_throughout_come_once(
    seed: int, probes: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PROBES_MAX", probes)
    monkeypatch.setattr(listing, "PART", part)
    chance = random.Random(seed)
    async with cb.start(engine="inline", hosts=3) as system:
        refs = await system.spawn_many(props(Idle) for _ in range(60))
        gone: set[tuple[int, int]] = set()
        found: list[tuple[int, int]] = []
        slot, cell = 0, -1
        while True:
            page = await system._spawner().ask_root(QueryActors(slot=slot, cell=cell, limit=7))
            found += [(row.slot, row.cell) for row in page.items]
            if not page.has_more:
                break
            slot, cell = page.slot, page.cell
            victim = chance.choice(refs)
            if tuple(victim.address) not in gone:
                gone.add((victim.address.slot, victim.address.cell))
                await system.stop(victim)
            await system.spawn(Idle)
        assert found == sorted(set(found))
        living = {(ref.address.slot, ref.address.cell) for ref in refs} - gone
        assert living <= set(found)


async def test_a_filter_that_finds_little_ends_its_page_early_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "SCANNED_MAX", 5)
    monkeypatch.setattr(listing, "SLICE_CELLS", 2)
    async with cb.start(engine="inline", hosts=1) as system:
        await system.spawn_many(props(Idle) for _ in range(40))
        ref = await system.spawn(Idle, name="rare")
        path = next(row.path for row in await pages(system) if row.cell == ref.address.cell)
        first = await system._spawner().ask_root(QueryActors(path=path))
        assert (first.items, first.has_more) == ((), True)
        assert [row.cell for row in await pages(system, path=path)] == [ref.address.cell]


async def test_those_that_failed_lately_are_found_among_many() -> None:
    async with cb.start(engine="inline", hosts=2) as system:
        refs = await system.spawn_many(props(Idle) for _ in range(30))
        failing = await system.spawn(Failing)
        with pytest.raises(cb.errors.HandlerFailed):
            await failing.ask(Fail())
        async with asyncio.timeout(30.0):
            while not (rows := await pages(system, failed_only=True, limit=1)):
                pass  # Its supervisor learns of it after the asker.
        assert [(row.slot, row.cell) for row in rows] == [tuple(failing.address)[:2]]
        assert rows[0].failed_ago_s is not None
        assert len(await pages(system, limit=500)) >= len(refs) + 1
