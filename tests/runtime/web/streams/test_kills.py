"""Clients are cut off at random, and the hub is killed: nothing is lost, nothing repeated."""

import asyncio
import contextlib
import random
import sys
import uuid
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest

from callboard.actors.journal.journal import Journal
from callboard.messages.storage.events import NewEvent
from callboard.runtime.stores.choose import event_store
from tests.runtime.web.edge import GOOD
from tests.runtime.web.raw import RawSocket

BATCH = 5
BROKEN = (OSError, EOFError, TimeoutError, AssertionError, KeyError)
"""What a connection that is cut off, or a hub that has only begun, raises in a client."""


class HubProcess:
    """The process of the hub; it keeps its port."""

    def __init__(self, root: Path, journal: Path) -> None:
        self._root = root
        self._journal = journal
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.runtime.web.streams.hub_process",
            str(self._journal),
            str(self.port),
            cwd=self._root,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            line = (await self._process.stdout.readline()).decode()
        port = urlsplit(line.strip()).port
        assert port is not None, line
        self.port = port

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()


class HasPort(Protocol):
    """Where a hub is now."""

    @property
    def port(self) -> int: ...


class Follower:
    """A client of `events` that comes back, and keeps the positions that it was given."""

    def __init__(self, hub: HasPort, token: str = GOOD) -> None:
        self._hub = hub
        self._token = token
        self.epoch = ""
        self.seen: list[int] = []
        self.fresh = 0
        """Events since it came back."""
        self.socket: RawSocket | None = None
        self.lost = 0

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except BROKEN:
                if self.socket is not None:
                    self.socket.abort()
                self.socket = None
                await asyncio.sleep(random.uniform(0.005, 0.05))

    async def _follow(self) -> None:
        self.socket = socket = await RawSocket.open(self._hub.port)
        self.fresh = 0
        assert "connect" in await socket.connect(self._token)
        place = {"recover": True, "offset": self.seen[-1] if self.seen else 0, "epoch": self.epoch}
        subscribe = {"channel": "events", **(place if self.epoch else {})}
        socket.send_json({"id": 2, "subscribe": subscribe})
        while True:
            for reply in await socket.replies():
                self._take(reply)

    def _take(self, reply: dict[str, Any]) -> None:
        found = []
        if "subscribe" in reply:
            answer = reply["subscribe"]
            self.lost += bool(self.epoch) and not answer.get("recovered", False)
            self.epoch = answer["epoch"]
            if not self.seen:
                self.seen.append(answer.get("offset", 0))
            found = answer.get("publications", [])
        elif "push" in reply:
            found = [reply["push"]["pub"]]
        elif reply:
            raise AssertionError(reply)
        self.seen += [each["offset"] for each in found]
        self.fresh += len(found)


async def grow(journal: Journal, count: int) -> int:
    """Append so many events; the position of the last."""
    events = [NewEvent(uuid.uuid4().bytes, "orders.placed", b"x") for _ in range(count)]
    return (await journal.append("orders", events)).last


async def cut_off(followers: list[Follower], journal: Journal, count: int, seed: int) -> None:
    """Cut so many connections, each after it has been given something.

    The journal grows with the cuts, and not with the time: a slow machine has no more to read.
    """
    chance = random.Random(seed)
    done = 0
    async with asyncio.timeout(500):
        while done < count:
            await grow(journal, BATCH)
            live = [each for each in followers if each.fresh and each.socket is not None]
            for each in chance.sample(live, min(len(live), 1 + len(followers) // 20)):
                assert each.socket is not None
                each.socket.abort()
                each.fresh = 0
                done += 1
            await asyncio.sleep(0.005 if live else 0.1)


async def check_each_once(
    root: Path, tmp_path: Path, *, clients: int, cuts: int, kills: int
) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(event_store(str(path)), owner="test")
    await journal.open()
    await grow(journal, 1)
    hub = HubProcess(root, path)
    await hub.start()
    followers = [Follower(hub) for _ in range(clients)]
    tasks = [asyncio.create_task(each.run()) for each in followers]
    try:
        for turn in range(kills):
            await cut_off(followers, journal, cuts // kills, turn)
            await hub.kill()
            await hub.start()
        await cut_off(followers, journal, clients, kills)
        last = await grow(journal, 1)
        async with asyncio.timeout(100):
            while any(each.seen[-1] < last for each in followers):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in followers:
            if each.socket is not None:
                each.socket.abort()
        await hub.kill()
        with contextlib.suppress(TimeoutError):
            await journal.close(timeout_s=5.0)
    for each in followers:
        assert each.lost == 0
        assert each.seen == list(range(each.seen[0], last + 1))


async def test_a_killed_hub_loses_and_repeats_nothing(root: Path, tmp_path: Path) -> None:
    await check_each_once(root, tmp_path, clients=5, cuts=20, kills=1)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
async def test_ten_thousand_cuts_and_twenty_kills_lose_and_repeat_nothing(
    root: Path, tmp_path: Path
) -> None:
    await check_each_once(root, tmp_path, clients=200, cuts=10_000, kills=20)
