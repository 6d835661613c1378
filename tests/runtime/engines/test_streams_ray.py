"""A stream whose actor's host is killed with -9, and one whose reader's process is."""

import asyncio
import os
import signal
import time
from contextlib import aclosing
from typing import Any, Final

import pytest

from callboard import start
from callboard.messages.core.errors import HostLost
from callboard.messages.core.ref import Ref

from . import stream_actors as streams
from .stream_actors import Count, Counted, Item

pytestmark = pytest.mark.ray

WITHIN_S: Final = 10.0
"""How late the death of a process may be seen on a loaded machine."""


async def first_of(counter: Ref[Any]) -> Item:
    """The first item: it names the process."""
    async with aclosing(counter.stream(Count(items=1), Item)) as items:
        item = await anext(items)
    assert isinstance(item, Item)
    return item


async def test_a_reader_learns_of_the_death_of_its_actors_host_and_can_read_again() -> None:
    async with start(engine="ray", hosts=2, name="streams-killed") as system:
        counter = await system.spawn(streams.Counter, host=2)
        found: list[Any] = []

        async def read() -> None:
            async for item in counter.stream(
                Count(items=1_000_000, pause_s=0.005), Item, timeout_s=60.0
            ):
                found.append(item)
                if isinstance(item, Item) and item.number == 20:
                    os.kill(item.pid, signal.SIGKILL)

        began_s = time.monotonic()
        with pytest.raises(HostLost) as caught:
            await asyncio.wait_for(read(), 60.0)
        assert time.monotonic() - began_s < 20 * 0.005 + WITHIN_S
        assert caught.value.may_have_run is True
        assert [item.number for item in found] == list(range(len(found)))
        # Under the same reference: the request waits for the next process of the slot.
        request = Count(items=40)
        again = [item async for item in counter.stream(request, Item, timeout_s=60.0)]
        assert again[-1] == Counted(items=40)
        assert len(again) == 41


@pytest.mark.soak
async def test_the_generator_is_closed_when_its_readers_host_is_killed() -> None:
    async with start(engine="ray", hosts=3, name="streams-left") as system:
        counter = await system.spawn(streams.TwoAtOnce, host=2)
        reader = await system.spawn(streams.Counter, host=3)
        recorder = await system.spawn(streams.EventRecorder, host=1)
        pid = (await first_of(reader)).pid
        endless = Count(items=1_000_000, pause_s=0.005, label="orphan", recorder=recorder)
        request = streams.StreamThrough(count=endless, of=counter)

        async def read() -> None:
            async for item in reader.stream(request, Item, timeout_s=60.0):
                if isinstance(item, Item) and item.number == 20:
                    os.kill(pid, signal.SIGKILL)

        with pytest.raises(HostLost):
            await read()
        await recorder.ask(streams.Expect(prefix="orphan closed"), timeout_s=WITHIN_S)
