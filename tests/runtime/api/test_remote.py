"""`callboard.remote`: a client outside of the cluster, over a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import callboard as cb
from callboard.messages.control.principals import ALL_SCOPES, Scope
from callboard.messages.core.errors import CallboardError, ClusterUnreachable, UsageError
from callboard.runtime.api.remote import connect
from tests.runtime.web.routes.api_world import (
    JOB,
    POEMS,
    Line,
    Made,
    Maker,
    Ordered,
    Poet,
    World,
    Write,
    api_world,
)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with api_world(tmp_path) as world:
        yield world


async def test_a_request_is_submitted_followed_and_gives_its_typed_result(world: World) -> None:
    async with connect(world.url, token=await world.token(*ALL_SCOPES)) as remote:
        handle = await remote.submit(JOB, Ordered(steps=3), result=list[Made], id="far")
        again = await remote.submit("making", Ordered(steps=3), result=list[Made], id="far")
        assert (handle.id, again.id) == ("far", "far")
        events = [event async for event in handle.updates()]
        state = await handle.state()
        assert [event["version"] for event in events] == list(range(1, state["version"] + 1))
        assert [event["version"] async for event in handle.updates(after=2)] == [
            event["version"] for event in events[2:]
        ]
        assert await handle.result(10) == [Made(number=number) for number in range(3)]
        assert await remote.handle("far").result(10) == [{"number": n} for n in range(3)]
        with pytest.raises(cb.errors.ExecutionIdTaken):
            await remote.submit(JOB, Ordered(steps=4), id="far")


@pytest.mark.parametrize("is_held", [False, True])
async def test_partial_results_come_typed_and_none_of_the_last_ones_is_missing(
    world: World, *, is_held: bool
) -> None:
    Poet.held = asyncio.Event() if is_held else None
    await world.system.pool(Poet, size=1)
    await world.system.offer(POEMS, Write)
    async with connect(world.url, token=await world.token(*ALL_SCOPES)) as remote:
        handle = await remote.submit(POEMS, Write(lines=40), id="poem")
        found = []
        async with asyncio.timeout(30):
            async for partial in handle.partials(Line):
                found.append((partial.attempt, partial.number, partial.value))
                if Poet.held is not None and len(found) == 40:
                    Poet.held.set()
        assert found == [(1, n + 1, Line(number=n)) for n in range(40)]
        plain = [partial.value async for partial in handle.partials(after=38)]
        assert plain == [{"number": 38}, {"number": 39}]
        with pytest.raises(cb.errors.InvalidMessage, match="a partial result of poem"):
            await anext(handle.partials(int))
    async with connect(world.url, token=await world.token(Scope.SUBMIT)) as remote:
        with pytest.raises(CallboardError, match="may not"):
            await anext(remote.handle("poem").partials())


async def test_a_failure_and_a_cancellation_come_as_errors(world: World) -> None:
    async with connect(world.url, token=await world.token(*ALL_SCOPES)) as remote:
        failed = await remote.submit(JOB, Ordered(fails=True))
        with pytest.raises(CallboardError, match="script"):
            await failed.result(10)
        Maker.hangs = True
        handle = await remote.submit(JOB, Ordered())
        with pytest.raises(cb.errors.DeadlineExceeded):
            await handle.result(0.2)
        assert (await anext(handle.updates()))["version"] == 1
        assert await handle.cancel()
        with pytest.raises(cb.errors.Cancelled):
            await handle.result(10)


async def test_what_a_token_may_not_is_refused(world: World) -> None:
    with pytest.raises(CallboardError, match="not valid"):
        async with connect(world.url, token="wrong"):
            pass
    async with connect(world.url, token=await world.token(Scope.READ)) as remote:
        with pytest.raises(CallboardError, match="may not"):
            await remote.submit(JOB, Ordered())
        assert "Bearer" not in repr(remote)


async def test_a_token_goes_to_no_server_without_tls_elsewhere() -> None:
    for url in ("http://192.0.2.1/", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "x", "http://[/"):
        with pytest.raises(UsageError):
            async with connect(url, token="t"):
                pass
    with pytest.raises(ClusterUnreachable):
        async with connect("http://127.0.0.1:1/", token="t"):
            pass
