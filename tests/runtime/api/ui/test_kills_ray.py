"""The hubs of a real system on Ray are killed: clients come back, and lose and repeat nothing."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("jwt")

import callboard as cb
from callboard import Actor, Contract, Request, handler
from callboard.actors.journal.journal import Journal
from callboard.messages.control.principals import ALL_SCOPES
from callboard.runtime.api.system import System
from callboard.runtime.api.tokens import open_tokens
from callboard.runtime.hosting.ui_settings import UiSettings
from tests.runtime.web.streams.test_kills import Follower, cut_off, grow

pytestmark = pytest.mark.ray
BLOCKED_S = 1.5


class Blocked(Contract, name="ui.blocked"):
    """The end of a block."""


class Block(Request[Blocked], name="ui.block"):
    """Block the event loop of a host."""


class Blocker(Actor):
    """Has a handler that does not give way."""

    @handler
    async def block(self, request: Block) -> Blocked:
        time.sleep(BLOCKED_S)  # noqa: ASYNC251 - the point
        return Blocked()


class Hubs:
    """The hubs of a system; a client that comes back goes to any of them."""

    def __init__(self, system: System, ports: list[int]) -> None:
        self._system = system
        self._ports = ports
        self._next = random.Random(0)

    @property
    def port(self) -> int:
        return self._next.choice(self._ports)

    async def kill(self, number: int) -> None:
        """Kill a hub with -9, and wait until its next incarnation has its port."""
        name = f"callboard.hub-{number}-"
        before = await self._process(name)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(60):
            while await self._process(name) in {before, None}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def _process(self, name: str) -> int | None:
        for host in (await self._system.view(actors_max=0)).hosts:
            if host.name.startswith(name):
                return host.pid
        return None


@contextlib.asynccontextmanager
async def followed(tmp_path: Path, *, hubs: int, clients: int) -> AsyncIterator[Any]:
    ui = UiSettings(hubs=hubs, prints_link=False)
    options: dict[str, Any] = {"journal": str(tmp_path / "journal.db"), "name": "kills", "ui": ui}
    async with cb.start(engine="ray", hosts=1, standbys=1, **options) as system:
        journal = system._journal.journal  # type: ignore[union-attr]
        await grow(journal, 1)
        async with open_tokens("kills") as tokens:
            token, _ = await tokens.create("ada", 3_600, scopes=ALL_SCOPES, channels=["*"])
        ports = [urlsplit(url).port or 0 for url in await system.ui.urls()]
        found = Hubs(system, ports)
        followers = [Follower(found, token) for _ in range(clients)]
        tasks = [asyncio.create_task(each.run()) for each in followers]
        try:
            yield system, found, followers, journal
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in followers:
                if each.socket is not None:
                    each.socket.abort()


async def until_all(followers: list[Follower]) -> None:
    """Wait until all are subscribed."""
    async with asyncio.timeout(60):
        while not all(each.socket is not None and each.seen for each in followers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def check(followers: list[Follower], journal: Journal) -> None:
    """Each follower gets the last event, and has all since its first one, once."""
    last = await grow(journal, 1)
    async with asyncio.timeout(100):
        while any(not each.seen or each.seen[-1] < last for each in followers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for each in followers:
        assert each.lost == 0
        assert each.seen == list(range(each.seen[0], last + 1))


@pytest.mark.soak
async def test_two_hubs_are_killed_and_a_blocked_host_cuts_nobody(tmp_path: Path) -> None:
    async with followed(tmp_path, hubs=2, clients=10) as (system, hubs, followers, journal):
        blocker = await system.spawn(Blocker, host=1)
        await cut_off(followers, journal, 10, 1)  # All are connected.
        await until_all(followers)
        before = [each.socket for each in followers]
        await system.ask(Block(), blocker)
        assert [each.socket for each in followers] == before
        for number in (1, 2):
            await hubs.kill(number)
            await cut_off(followers, journal, 10, number)
        await check(followers, journal)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
async def test_twenty_kills_of_a_hub_with_200_clients(tmp_path: Path) -> None:
    async with followed(tmp_path, hubs=2, clients=200) as (_, hubs, followers, journal):
        for turn in range(20):
            await cut_off(followers, journal, 500, turn)
            await hubs.kill(1 + turn % 2)
        await check(followers, journal)
