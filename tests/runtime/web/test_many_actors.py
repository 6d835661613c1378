"""A system that has had very many actors, as its hub and its API see it."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from callboard import Actor, handler
from callboard.actors.kernel.props import props
from callboard.messages.control.principals import Scope

from .browser.world import Made, Make, PageWorld

HOUR_S: Final = 3_600.0
AT_ONCE: Final = 250
ANSWER_BYTES_MAX: Final = 1_000_000
OBJECTS_MAX: Final = 20_000
"""What else grows in a system that runs: metrics, histories up to their bounds, caches."""


class Brief(Actor):
    """Lives for a moment."""

    @handler
    async def make(self, request: Make) -> Made:
        return Made()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PageWorld]:
    opened = PageWorld(tmp_path).open()
    yield opened
    opened.close()


def _live_and_end(world: PageWorld, batches: int) -> None:
    async def live() -> None:
        for one in [await world.system.spawn(props(Brief)) for _ in range(AT_ONCE)]:
            await world.system.stop(one)

    for _ in range(batches):
        world.call(live)


def _answers(world: PageWorld) -> list[Any]:
    async def ask() -> list[Any]:
        token, _ = await world.tokens.create("ada", HOUR_S, scopes=(Scope.READ,), channels=("*",))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=world.url, headers=headers) as client:
            paths = ("v1/system", "v1/hosts", "v1/actors?limit=500")
            return [await client.get(path) for path in paths]

    return world.call(ask)


@pytest.mark.parametrize("batches", [8, pytest.param(4_000, marks=pytest.mark.soak)])
def test_actors_born_and_ended_leave_the_hub_flat(world: PageWorld, batches: int) -> None:
    """ray-project/ray#22027: the dashboard kept all actors for ever; its answers had 158 MB."""
    _live_and_end(world, batches // 4)
    _answers(world)
    gc.collect()
    before = len(gc.get_objects())
    _live_and_end(world, batches)
    answers = _answers(world)
    gc.collect()
    assert len(gc.get_objects()) - before < OBJECTS_MAX
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert all(len(answer.content) < ANSWER_BYTES_MAX for answer in answers)
    assert answers[0].json()["actors"] < AT_ONCE
