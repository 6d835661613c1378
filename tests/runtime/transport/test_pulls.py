"""Frames that wait for a pull."""

import asyncio

import pytest

from callboard.messages.core.errors import HostLost
from callboard.runtime.transport.pulls import Pulls


async def test_a_frame_waits_for_a_pull_and_a_pull_for_a_frame() -> None:
    pulls = Pulls()
    sending = asyncio.ensure_future(pulls.carrier(7).deliver(b"first", ()))
    await asyncio.sleep(0)
    assert not sending.done()
    assert await pulls.take(7) == [(b"first", ())]
    assert await sending == (b"", ())
    taking = asyncio.ensure_future(pulls.take(7))
    await asyncio.sleep(0)
    await pulls.carrier(7).deliver(b"second", ())
    assert await taking == [(b"second", ())]


async def test_an_unknown_driver_gets_nothing() -> None:
    assert await Pulls().take(7) == []


async def test_a_newer_pull_takes_the_place_of_one_whose_caller_is_lost() -> None:
    pulls = Pulls()
    carrier = pulls.carrier(7)
    lost = asyncio.ensure_future(pulls.take(7))
    await asyncio.sleep(0)
    newer = asyncio.ensure_future(pulls.take(7))
    await asyncio.sleep(0)
    await carrier.deliver(b"frame", ())
    assert await lost == []
    assert await newer == [(b"frame", ())]


async def test_the_end_ends_all_waits() -> None:
    pulls = Pulls()
    carrier = pulls.carrier(7)
    taking = asyncio.ensure_future(pulls.take(7))
    await asyncio.sleep(0)
    pulls.end(7)
    assert await taking == []
    assert pulls.slots == ()
    with pytest.raises(HostLost):
        await carrier.deliver(b"frame", ())
