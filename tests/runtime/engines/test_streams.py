"""Streams between actors: `ref.stream`, on one host and between two, on each engine."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from callboard.actors.kernel.streams import WINDOW
from callboard.messages.core.errors import (
    CallboardError,
    CircularAsk,
    DeadlineExceeded,
    HandlerFailed,
    UsageError,
    WrongReply,
)
from callboard.messages.core.ref import Ref
from callboard.runtime.api.system import System

from . import fixture_actors as actors
from . import stream_actors as streams
from .stream_actors import Count, Counted, Item

pytestmark = pytest.mark.asyncio(loop_scope="session")

LATE_S = 5.0
"""How late something may be seen on a loaded machine."""


async def expect(recorder: Ref[Any], prefix: str) -> None:
    await recorder.ask(actors.Expect(prefix=prefix), timeout_s=20.0)


async def read(items: AsyncGenerator[Any, None], found: list[Any]) -> None:
    """Read into a list, so that an error does not lose what came before it."""
    async for item in items:
        found.append(item)  # noqa: PERF401 - as above


async def yielded(counter: Ref[Any]) -> int:
    received: actors.Received = await counter.ask(actors.AskReceived(), timeout_s=20.0)
    return received.count


@pytest.mark.parametrize("host", [1, 2])
async def test_a_reader_gets_all_items_in_their_order_and_then_the_reply(
    system: System, host: int
) -> None:
    counter = await system.spawn(streams.Counter, host=host)
    count = 5 * WINDOW + 3
    found = [item async for item in counter.stream(Count(items=count), Item)]
    assert [item.number for item in found if isinstance(item, Item)] == list(range(count))
    assert found[-1] == Counted(items=count)
    assert len(found) == count + 1


@pytest.mark.parametrize("count", [0, 1, 3 * WINDOW])
async def test_a_request_without_a_reply_has_items_alone(system: System, count: int) -> None:
    counter = await system.spawn(streams.Counter, host=2)
    found = [item.number async for item in counter.stream(streams.CountOn(items=count), Item)]
    assert found == list(range(count))


async def test_a_handler_waits_for_a_reader_that_is_behind(system: System) -> None:
    counter = await system.spawn(streams.TwoAtOnce, host=2)
    async with aclosing(counter.stream(Count(items=10 * WINDOW), Item)) as items:
        first = await anext(items)
        assert isinstance(first, Item)
        # Once it waits, the other handler's messages still have their turn.
        while (count := await yielded(counter)) < WINDOW:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
        for _ in range(20):
            count = await yielded(counter)
        assert count <= WINDOW + 2
        rest = [item async for item in items]
    assert len(rest) == 10 * WINDOW


@pytest.mark.parametrize("host", [1, 2])
async def test_the_generator_is_closed_when_its_reader_leaves(
    system: System, recorder: Ref[Any], host: int
) -> None:
    counter = await system.spawn(streams.Counter, host=host)
    request = Count(items=10_000, label=f"left {host}", recorder=recorder)
    async with aclosing(counter.stream(request, Item)) as items:
        async for item in items:
            if isinstance(item, Item) and item.number == 3:
                break
    await expect(recorder, f"left {host} closed")
    assert (await counter.ask(actors.Ping(n=4))).n == 4


async def test_the_generator_is_closed_when_its_reader_is_cancelled(
    system: System, recorder: Ref[Any]
) -> None:
    counter = await system.spawn(streams.Counter, host=2)
    request = Count(items=1, how="hang", label="cancelled", recorder=recorder)
    began = asyncio.Event()

    async def read() -> None:
        async for _ in counter.stream(request, Item):
            began.set()

    task = asyncio.ensure_future(read())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await expect(recorder, "cancelled closed")


@pytest.mark.parametrize("host", [1, 2])
async def test_an_error_comes_after_the_items_before_it(system: System, host: int) -> None:
    counter = await system.spawn(streams.Counter, host=host)
    found: list[Any] = []
    with pytest.raises(HandlerFailed, match="out of numbers"):
        await read(counter.stream(Count(items=2 * WINDOW, how="fail"), Item), found)
    assert [item.number for item in found] == list(range(2 * WINDOW))


@pytest.mark.parametrize("host", [1, 2])
async def test_an_item_that_does_not_come_in_time_ends_the_stream(
    system: System, recorder: Ref[Any], host: int
) -> None:
    counter = await system.spawn(streams.Counter, host=host)
    label = f"late {host}"
    request = Count(items=3, how="hang", label=label, recorder=recorder)
    found: list[Any] = []
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        await read(counter.stream(request, Item, timeout_s=0.3), found)
    assert len(found) == 3
    assert caught.value.may_have_run is True
    assert 0.3 <= time.monotonic() - began_s < 0.3 + LATE_S
    await expect(recorder, f"{label} closed")


@pytest.mark.parametrize("host", [1, 2])
async def test_a_reader_that_stalls_loses_its_stream_and_the_actor_goes_on(
    system: System, recorder: Ref[Any], host: int
) -> None:
    counter = await system.spawn(streams.Counter, host=host)
    label = f"stalled {host}"
    request = Count(items=10_000, label=label, recorder=recorder)
    async with aclosing(counter.stream(request, Item, timeout_s=0.3)) as items:
        assert isinstance(await anext(items), Item)
        await expect(recorder, f"{label} closed")
        assert (await counter.ask(actors.Ping(n=4))).n == 4
        found: list[Any] = []
        with pytest.raises(DeadlineExceeded, match=r"took no item for 0\.3 s"):
            await read(items, found)
    assert len(found) == WINDOW - 1


@pytest.mark.parametrize("host", [1, 2])
async def test_a_stream_that_makes_progress_outlives_its_timeout(system: System, host: int) -> None:
    counter = await system.spawn(streams.Counter, host=host)
    request = Count(items=8, pause_s=0.25)
    began_s = time.monotonic()
    found = [item async for item in counter.stream(request, Item, timeout_s=1.5)]
    assert len(found) == 9
    assert time.monotonic() - began_s > 1.5


async def test_a_stream_inside_a_handler_ends_with_the_stream_around_it(
    system: System, recorder: Ref[Any]
) -> None:
    outer, inner = [await system.spawn(streams.Counter, host=host) for host in (1, 2)]
    count = Count(items=2 * WINDOW)
    found = [
        item async for item in outer.stream(streams.StreamThrough(count=count, of=inner), Item)
    ]
    assert found[-1] == Counted(items=2 * WINDOW)
    assert len(found) == 2 * WINDOW + 1
    endless = Count(items=10_000, label="inner", recorder=recorder)
    request = streams.StreamThrough(count=endless, of=inner)
    async with aclosing(outer.stream(request, Item)) as items:
        await anext(items)
    await expect(recorder, "inner closed")


async def test_a_stream_in_a_circle_is_found(system: System) -> None:
    counter = await system.spawn(streams.Counter, host=2)
    request = streams.StreamThrough(count=Count(items=1), of=counter)
    began_s = time.monotonic()
    with pytest.raises(CircularAsk):
        await read(counter.stream(request, Item, timeout_s=30.0), [])
    assert time.monotonic() - began_s < LATE_S


async def test_an_ask_of_items_alone_says_what_to_do(system: System) -> None:
    counter = await system.spawn(streams.Counter, host=2)
    with pytest.raises(UsageError, match=r"async for item in ref\.stream\(CountOn\(") as caught:
        await counter.ask(streams.CountOn(items=3))
    assert "streams.count_on" in caught.value.message
    assert await counter.ask(Count(items=3)) == Counted(items=3)


async def test_a_handler_that_does_not_stream_gives_its_reply(system: System) -> None:
    counter = await system.spawn(streams.Counter, host=2)
    found = [item async for item in counter.stream(streams.Unanswered(), Item)]
    assert found == [Counted(items=0)]


async def test_items_of_another_contract_are_an_error(system: System, recorder: Ref[Any]) -> None:
    counter = await system.spawn(streams.Counter, host=2)
    request = Count(items=9, label="other", recorder=recorder)
    with pytest.raises(WrongReply, match=r"yielded a streams\.item, not a actors\.number"):
        await read(counter.stream(request, actors.Number), [])
    await expect(recorder, "other closed")


async def test_a_stream_that_cannot_begin_fails_at_its_first_item(system: System) -> None:
    counter = await system.spawn(streams.Counter, host=2)
    await system.stop(counter)
    with pytest.raises(CallboardError):
        await anext(counter.stream(Count(items=1), Item, timeout_s=5.0))
    with pytest.raises(UsageError):
        await anext(counter.stream(Count(items=1), Item, timeout_s=-1.0))
    wrong: Any = "no message"
    with pytest.raises(CallboardError):
        await anext(counter.stream(wrong, Item))
