"""Sockets that have not said who they are: turns in all and by address."""

import asyncio

from callboard.runtime.web.settings import WebLimits
from callboard.runtime.web.streams.unknown import UnknownSockets

LIMITS = WebLimits(unknown_max=5, unknown_per_address_max=2, unknown_s=0.05)
PATIENT = WebLimits(unknown_max=5, unknown_per_address_max=2, unknown_s=30.0)


async def test_one_address_takes_its_share_only() -> None:
    sockets = UnknownSockets(LIMITS)
    first = [await sockets.enter("192.0.2.1") for _ in range(2)]
    assert None not in first
    assert await sockets.enter("192.0.2.1") is None
    assert await sockets.enter("192.0.2.2") is not None


async def test_all_addresses_together_have_a_limit_and_this_machine_that_one_alone() -> None:
    sockets = UnknownSockets(LIMITS)
    assert None not in [await sockets.enter("127.0.0.1") for _ in range(5)]
    assert await sockets.enter("127.0.0.1") is None
    assert await sockets.enter("192.0.2.2") is None


async def test_who_waits_is_served_in_turn_and_nothing_stays() -> None:
    sockets = UnknownSockets(PATIENT)
    served = []

    async def socket(number: int) -> None:
        leave = await sockets.enter("192.0.2.1")
        assert leave is not None
        served.append(number)
        await asyncio.sleep(0)
        leave()
        leave()

    await asyncio.gather(*(socket(number) for number in range(20)))
    assert served == list(range(20))
    assert not sockets._addresses
    assert sockets._count == 0


async def test_9_one_address_leaves_room_in_the_line_for_others() -> None:
    sockets = UnknownSockets(PATIENT)
    waiting = [asyncio.create_task(sockets.enter("192.0.2.1")) for _ in range(6_000)]
    await asyncio.sleep(0)
    assert sum(each.done() and each.result() is None for each in waiting) == 6_000 - 1_002
    assert await sockets.enter("192.0.2.2") is not None
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_cancelled_wait_gives_its_place_back() -> None:
    sockets = UnknownSockets(PATIENT)
    leaves = [await sockets.enter("192.0.2.1") for _ in range(2)]
    waiting = asyncio.create_task(sockets.enter("192.0.2.1"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for leave in leaves:
        assert leave is not None
        leave()
    assert not sockets._addresses
    assert await sockets.enter("192.0.2.1") is not None
