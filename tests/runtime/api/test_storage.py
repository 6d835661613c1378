"""Logs and states through the public functions that open them."""

import asyncio
import datetime as dt
import uuid
from pathlib import Path

import pytest

import callboard
from callboard.actors.journal.client import LogClient
from callboard.messages.core.errors import SpecError
from callboard.messages.storage.errors import WrongExpectedVersion
from callboard.messages.storage.events import NO_STREAM, Appended, NewEvent
from callboard.messages.storage.states import AgentExecutionState
from tests.servers.redis_server import RedisServer

LEFT = "return redis.call('PTTL', redis.call('KEYS', '*an-hour*')[1])"
"""The time to live of the one key in Redis with this text in its name."""


def _event(text: str) -> NewEvent:
    return NewEvent(uuid.uuid4().bytes, "noted", text.encode())


async def test_a_log_is_an_actor_that_others_find(tmp_path: Path) -> None:
    url = str(tmp_path / "log.db")
    async with callboard.start(engine="inline", hosts=2) as system:
        log = await callboard.events.open_log(system, url, name="orders", host=2)
        assert await log.append("a", [_event("one"), _event("two")], NO_STREAM) == Appended(1, 2, 2)
        other = LogClient(await system.lookup("orders"))
        await other.open()
        heads: asyncio.Queue[int] = asyncio.Queue()
        end = other.on_commit(heads.put_nowait)
        with pytest.raises(WrongExpectedVersion):
            await other.append("a", [_event("late")], NO_STREAM)
        await log.append("a", [_event("three")])
        assert await asyncio.wait_for(heads.get(), 10) == 3
        end()
        assert [e.data for e in await other.read(1, 10)] == [b"two", b"three"]
        assert await other.version_of("a") == 3
        await other.close()
    async with callboard.start(engine="inline", hosts=1) as system:
        log = await callboard.events.open_log(system, url, name="orders")
        assert [e.data for e in await log.read_stream("a")] == [b"one", b"two", b"three"]


async def test_a_log_is_closed_at_the_end_of_a_block_and_goes_on(tmp_path: Path) -> None:
    async with callboard.start(engine="inline", hosts=1) as system:
        url = str(tmp_path / "log.db")
        async with callboard.events.open_log(system, url, name="orders") as log:
            await log.append("a", [_event("one")])
        async with LogClient(await system.lookup("orders")) as again:
            assert again.head == 1


async def test_a_wrong_url_is_refused_at_once() -> None:
    async with callboard.start(engine="inline", hosts=1) as system:
        with pytest.raises(SpecError, match="mysql"):
            await callboard.events.open_log(system, "mysql://x/y", name="orders")


async def test_states_are_there_after_a_restart(tmp_path: Path) -> None:
    url = str(tmp_path / "states.db")
    async with callboard.states.open_states(url) as states:
        assert await states.synchronise(["nobody"]) == [None]
    async with callboard.states.open_states(url) as states:
        assert states.statistics().read_unknown == 0


async def test_a_cached_state_lives_an_hour_in_redis(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    url = str(tmp_path / "states.db")
    async with callboard.states.open_states(url, cache=redis_server.url) as states:
        await states.persist(
            AgentExecutionState(
                execution_id="an-hour",
                agent_id="a",
                task_id="t",
                start_time=dt.datetime.now(dt.UTC),
            )
        )
        left_ms = int(redis_server.command("EVAL", LEFT, "0").removeprefix(":"))
        assert 3_600_000 * 0.9 - 60_000 < left_ms <= 3_600_000
