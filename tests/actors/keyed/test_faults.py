"""Keyed actors with a store that fails, is slow, or has a newer state: clear errors, no loss."""

import asyncio
from collections.abc import Iterator
from typing import ClassVar

import pytest

from callboard.actors.kernel.inspection.meters import Vitals
from callboard.messages.core.errors import ActorStopped, CallboardError, HandlerFailed, StoreFailed
from callboard.runtime.api.inside import host_of
from callboard.testing import Simulation, simulated

from .disk import Add, AddSoon, Broad, Count, Counter, Crash, Disk, Parting, Wait


@pytest.fixture(autouse=True)
def disk() -> Iterator[None]:
    Disk.wipe()
    yield
    Disk.wipe()


async def kept(sim: Simulation, user: str) -> int:
    """The stored number of a user, decoded by the system."""
    state = (await Disk.kept.load("Counter", user)).state
    if state is None:
        return 0
    build = host_of(sim.system).contracts.resolve(state.contract, state.version, state.fingerprint)
    message = host_of(sim.system).codec.decode(state.body, build, state.buffers)
    assert isinstance(message, Count)
    return message.number


async def add(sim: Simulation, user: str = "a") -> int:
    return (await sim.system.ask(Add(user=user))).number


async def active(sim: Simulation) -> int:
    view = await sim.system.view()
    return sum(m.children for host in view.hosts for m in host.members if m.name == "Counter")


@simulated()
async def test_failing_load_fails_waiting_messages_and_the_next_one_tries_again(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Counter, store=Disk())
    Disk.load_failures = 1
    asks = [asyncio.ensure_future(add(sim)) for _ in range(2)]
    for ask in asks:
        with pytest.raises(StoreFailed, match=r"could not load .*: OSError: cannot read") as caught:
            await ask
        assert not caught.value.may_have_run
    assert await add(sim) == 1


@simulated()
async def test_failing_load_after_a_crash_leaves_the_key_absent(sim: Simulation) -> None:
    await sim.system.keyed(Counter, store=Disk(), save_every=1)
    assert await add(sim) == 1
    Disk.load_failures = 1
    with pytest.raises(HandlerFailed):
        await sim.system.ask(Crash(user="a"))
    await sim.advance(0.1)
    assert await active(sim) == 0
    assert await add(sim) == 2


@simulated()
async def test_failing_saves_are_tried_again_ever_later_and_nothing_is_lost(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Counter, store=Disk(), save_every=1, idle_s=1_000.0)
    Disk.save_failures = 5
    for number in range(1, 101):
        assert await add(sim) == number
        await sim.advance(0.1)
    assert await kept(sim, "a") == 100
    gaps = [late - early for early, late in zip(Disk.saves[:6], Disk.saves[1:6], strict=False)]
    for gap, wanted in zip(gaps, (0.1, 0.2, 0.4, 0.8, 1.6), strict=True):
        assert wanted - 0.001 <= gap <= wanted + 0.3


@simulated()
async def test_failed_save_of_a_passivating_key_keeps_it_active_and_is_retried(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Counter, store=Disk(), idle_s=1.0)
    assert await add(sim) == 1
    Disk.save_failures = 2
    await sim.advance(1.5)
    assert Disk.save_failures < 2
    assert await add(sim) == 2
    await sim.advance(10.0)
    assert (await active(sim), await kept(sim, "a")) == (0, 2)


class Stumbling(Counter):
    """Raises in its first snapshots; the class variables are one process's."""

    raises: ClassVar[list[type[BaseException]]] = []

    def snapshot(self) -> Count:
        if Stumbling.raises:
            raise Stumbling.raises.pop()
        return super().snapshot()


@simulated()
async def test_a_snapshot_that_raises_anything_is_tried_again(sim: Simulation) -> None:
    Stumbling.raises = [asyncio.CancelledError, SystemExit, GeneratorExit, ValueError]
    await sim.system.keyed(Stumbling, store=Disk(), idle_s=1.0)
    assert await add(sim) == 1
    await sim.advance(60.0)
    assert Stumbling.raises == []
    assert (await Disk.kept.load("Stumbling", "a")).state is not None
    assert await add(sim) == 2


@simulated()
async def test_save_without_an_answer_is_recognised_by_its_writer(sim: Simulation) -> None:
    await sim.system.keyed(Counter, store=Disk(), save_every=1)
    Disk.lost_answers = 1
    for number in range(1, 6):
        assert await add(sim) == number
        await sim.advance(0.2)
    assert await kept(sim, "a") == 5


@simulated()
async def test_active_key_with_an_old_state_continues_from_the_newer_state(sim: Simulation) -> None:
    await sim.system.keyed(Counter, store=Disk(), save_every=2)
    await sim.system.ask(Add(user="b", number=100))
    assert await add(sim, "b") == 101
    assert [await add(sim) for _ in range(2)] == [1, 2]
    await sim.advance(1.0)
    await Disk.overwrite("Counter", "a", by="b")
    asks = [asyncio.ensure_future(add(sim)) for _ in range(6)]
    # Two come before the conflict; the others wait for the next incarnation, in order.
    assert await asyncio.gather(*asks) == [3, 4, 102, 103, 104, 105]


@simulated()
async def test_passivating_key_with_an_old_state_is_renewed_and_passivates_later(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Counter, store=Disk(), idle_s=1.0)
    for user in "ab":
        await sim.system.ask(Add(user=user, number=100))
    await sim.advance(10.0)
    assert await add(sim) == 101
    await Disk.overwrite("Counter", "a", by="b")
    await sim.advance(7.0)
    assert await active(sim) == 0
    assert await add(sim) == 101, "the newer state had 100"


@simulated()
async def test_save_every_holds_under_steady_load(sim: Simulation) -> None:
    for actor in (Counter, Broad):
        Disk.wipe()
        parts = (await sim.system.keyed(actor, store=Disk(), save_every=10, name="Counter")).refs
        Disk.takes_s = 0.01
        for _ in range(200):
            sim.system.tell(AddSoon(user="a"))
        assert await add(sim) == 201
        assert len(Disk.saves) >= 200 // (10 + actor.concurrency)
        for part in parts:
            await sim.system.stop(part)
        assert await kept(sim, "a") == 201


@simulated()
async def test_save_after_holds_under_steady_load_and_when_idle(sim: Simulation) -> None:
    await sim.system.keyed(Counter, store=Disk(), save_after_s=1.0)
    for _ in range(100):
        await add(sim)
        await sim.advance(0.1)
    gaps = [late - early for early, late in zip(Disk.saves, Disk.saves[1:], strict=False)]
    assert max(gaps) <= 1.3
    await sim.advance(1.5)
    assert await kept(sim, "a") == 100


@simulated()
async def test_messages_of_a_notice_and_of_others_wait_while_the_state_is_saved(
    sim: Simulation,
) -> None:
    await sim.system.keyed(Counter, store=Disk(), save_every=1)
    Disk.takes_s = 1.0
    asks = [asyncio.ensure_future(add(sim)) for _ in range(5)]
    assert await asyncio.gather(*asks) == [1, 2, 3, 4, 5]
    assert len(Disk.saves) >= 4


@simulated()
async def test_ordered_stop_saves_many_at_a_time(sim: Simulation) -> None:
    parts = (await sim.system.keyed(Counter, store=Disk())).refs
    await asyncio.gather(*(add(sim, f"u{n}") for n in range(300)))
    Disk.takes_s = 1.0
    began_s = sim.now_s
    for part in parts:
        await sim.system.stop(part)
    assert sim.now_s - began_s < 10.0
    assert [await kept(sim, f"u{n}") for n in range(300)] == [1] * 300


@simulated()
async def test_ordered_stop_does_not_wait_for_ever_for_a_store_that_is_down(
    sim: Simulation,
) -> None:
    parts = (await sim.system.keyed(Counter, store=Disk())).refs
    await asyncio.gather(*(add(sim, f"u{n}") for n in range(500)))
    Disk.save_failures = 1_000_000
    began_s = sim.now_s
    for part in parts:
        await sim.system.stop(part)
    assert sim.now_s - began_s < 25.0


@simulated()
async def test_ordered_stop_during_a_save_saves_later_changes(sim: Simulation) -> None:
    parts = (await sim.system.keyed(Parting, store=Disk(), save_every=1, name="Counter")).refs
    Disk.takes_s = 1.0
    assert await add(sim) == 1
    await sim.advance(0.5)
    for part in parts:
        await sim.system.stop(part)
    assert await kept(sim, "a") == 1_001


@simulated()
async def test_messages_for_an_activation_fail_when_its_key_region_stops(
    sim: Simulation,
) -> None:
    parts = (await sim.system.keyed(Counter, store=Disk())).refs
    Disk.takes_s = 5.0
    ask = asyncio.ensure_future(add(sim))
    await sim.advance(0.1)
    for part in parts:
        await sim.system.stop(part)
    with pytest.raises(ActorStopped):
        await ask


@simulated()
async def test_key_region_that_stops_lets_the_running_handler_end(sim: Simulation) -> None:
    parts = (await sim.system.keyed(Counter, store=Disk())).refs
    ask = asyncio.ensure_future(sim.system.ask(Wait(user="a", for_s=2.0)))
    await sim.advance(0.1)
    for part in parts:
        await sim.system.stop(part)
    assert (await ask).number == 0
    with pytest.raises(CallboardError):
        await add(sim)


@simulated(hosts=1)
async def test_idle_keys_passivate_when_memory_is_short_and_activate_again(sim: Simulation) -> None:
    await sim.system.keyed(Counter, store=Disk(), idle_s=1_000.0, memory_bytes_max=1_000)
    for user in "abcdefgh":
        await add(sim, user)
    await sim.advance(20.0)
    assert await active(sim) == 8
    sim._simulated.host(1).meters.vitals = lambda: Vitals(0, "", 2_000, 0.0)
    await sim.advance(20.0)
    assert await active(sim) == 0
    assert [await add(sim, user) for user in "abcdefgh"] == [2] * 8
