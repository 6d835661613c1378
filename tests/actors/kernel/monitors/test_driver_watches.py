"""The watches of drivers, and the `Watch` of drivers and actors."""

import asyncio

import pytest

from callboard.actors.kernel.monitors.monitors import Watch
from callboard.messages.control.lifecycle import ExitReason
from callboard.messages.control.notices import Down
from callboard.runtime.api.inside import host_of
from callboard.runtime.api.system import System

from .fixture_actors import Crash, Participant
from .test_watching import host_at, kinds, process_of, received_by, settle, table


async def test_a_driver_awaits_the_notice(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    first, second = system.watch(target), system.watch_host(1)
    await settle(system)
    target.tell(Crash())
    notice = await first
    assert isinstance(notice, Down)
    assert notice.kind is ExitReason.FAILED
    assert not second.done()
    await process_of(system, 1).kill()
    assert (await second).kind is ExitReason.HOST_LOST


async def test_a_driver_ends_its_watch_by_cancelling(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    watch = system.watch(target)
    await settle(system)
    assert host_of(system).monitors.count == 1
    watch.cancel()
    await settle(system)
    assert host_of(system).monitors.count == 0
    await table(system, 0)


async def test_giving_up_waiting_does_not_end_a_watch(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    watch = system.watch(target)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch, 0.01)
    waiting = asyncio.ensure_future(_down_of(watch))
    target.tell(Crash())
    assert await watch is await waiting is watch.down
    assert watch.done()


async def _down_of(watch: Watch) -> Down:
    return await watch


async def test_cancelling_a_watch_ends_the_waiting_for_it(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    watch = system.watch(target)
    waiting = asyncio.ensure_future(_down_of(watch))
    await settle(system)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert watch.down is None


async def test_the_watch_of_an_actor_is_awaited_and_cancelled_like_a_drivers(
    system: System,
) -> None:
    watcher = await system.spawn(Participant, host=1)
    target = await system.spawn(Participant, host=2)
    kernel = host_at(system, 1)
    ctx = kernel.context(kernel.cells[watcher.address.cell])
    first, second = ctx.watch(target), ctx.watch(target)
    await settle(system)
    second.cancel()
    target.tell(Crash())
    assert (await first).kind is ExitReason.FAILED
    assert kinds(await received_by(watcher, 1)) == [ExitReason.FAILED]
    assert not second.done()


async def test_a_driver_that_cancels_at_once_has_watched_nothing(system: System) -> None:
    target = await system.spawn(Participant, host=1)
    system.watch(target).cancel()
    await settle(system)
    await table(system, 0)
