"""A process that dies at any moment of its take-over is replaced, and never counts as up."""

import asyncio
from functools import partial
from typing import Any, Final

import pytest

from callboard.actors.kernel.actor import Actor, handler
from callboard.messages.control.spec import Restart
from callboard.messages.core.contract import Request
from callboard.messages.core.errors import CallboardError
from callboard.messages.core.ref import Ref
from callboard.runtime.api.system import System

from .detached import root
from .detached.system import ROOT, DetachedSystem, Driver
from .test_found_detached import Count, Counted, Counter, do, is_back, simulate, until

SLOW_WRITE_S: Final = 0.06
STEP_S: Final = 0.0002
"""Finer than a write of the root's records, which takes up to 2 ms."""
DELAYS_S: Final = [0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004]


async def count(ref: Ref[Any], api: System) -> Counted:
    return await api.ask(Count(), ref)


class Break(Request[Counted], name="takeover.break"):
    """Ends the actor."""


class Fragile(Actor):
    @handler
    async def end(self, request: Break) -> Counted:
        raise ValueError("on purpose")


async def soon(system: DetachedSystem, *, populated: bool) -> None:
    """Wait until a process takes slot 1 over, or until the slot's actor runs there again."""
    slot = system.root.table.slots[1]
    cell = next(iter(slot.entries))

    def is_soon() -> bool:
        process = None if slot.process is None else system.cluster.named.get(slot.process.name)
        host = None if process is None else process.host
        if host is None or host.epoch != slot.epoch or slot.epoch == 1:
            return False
        return slot.is_up or not populated or cell in host.cells

    async with asyncio.timeout(30.0):
        while not is_soon():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(STEP_S)


def killed_twice(seed: int, delay_s: float, *, populated: bool) -> tuple[int, bool]:
    """Kill the host of slot 1, and its next process `delay_s` into its take-over.

    Gives the count of an actor of the slot afterwards, and whether the root knew of the second
    death before it declared the slot up.
    """
    knew = False

    async def main(system: DetachedSystem, driver: Driver) -> int:
        nonlocal knew
        # Slow records: the root may know the driver before the driver knows that.
        await until(lambda: driver.system._connection is not None)
        ref = await do(driver, lambda api: api.spawn(Counter, host=1))
        slot = system.root.table.slots[1]
        system.crash(1)
        await soon(system, populated=populated)
        await asyncio.sleep(delay_s)
        if not slot.is_up:
            victim = slot.process
            system.crash(1)
            async with asyncio.timeout(30.0):
                while slot.process is victim and not slot.is_up:
                    knew |= slot.dead_epoch == slot.epoch
                    await asyncio.sleep(STEP_S)
        await until(lambda: is_back(system, deaths=0))
        try:
            return int((await do(driver, lambda api: api.ask(Count(), ref, timeout_s=20.0))).n)
        except CallboardError:
            return int((await do(driver, lambda api: api.ask(Count(), ref, timeout_s=20.0))).n)

    return simulate(seed, main, heartbeat_s=60.0), knew


@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_a_process_that_dies_while_it_takes_over_is_replaced(delay_s: float) -> None:
    for seed in range(6):
        count, _ = killed_twice(seed, delay_s, populated=False)
        assert count == 1


@pytest.mark.parametrize("delay_s", [0.002, 0.01])
def test_an_epoch_that_died_after_its_actors_had_started_is_never_up(
    delay_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a mutation: the slot was declared up, with a process that nobody watched.

    The records are slow, so that the root learns of the death while it writes that all is well.
    """
    monkeypatch.setattr(root, "WRITE_MAX_S", SLOW_WRITE_S)
    found = [killed_twice(seed, delay_s, populated=True) for seed in range(6)]
    assert found == [(1, True)] * len(found)


@pytest.fixture
def first_return_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The root dies once: no lookup makes it return a second time."""
    monkeypatch.setattr(root, "LOOKUPS_FAIL_SHARE", 0.0)


@pytest.mark.usefixtures("first_return_succeeds")
@pytest.mark.parametrize("seed", range(4))
def test_a_host_whose_actors_were_still_to_start_when_the_root_died_gets_them(seed: int) -> None:
    """Found by a mutation: the next root took the half-made host for a whole one."""

    async def main(system: DetachedSystem, driver: Driver) -> int:
        refs = [await do(driver, lambda api: api.spawn(Counter, host=1)) for _ in range(5)]
        system.crash(1)
        await soon(system, populated=False)
        slot = system.root.table.slots[1]
        assert not slot.is_up
        system.crash(ROOT)
        await until(lambda: is_back(system))
        return sum([int((await do(driver, partial(count, ref))).n) for ref in refs])

    assert simulate(seed, main, heartbeat_s=5.0) == 5


@pytest.mark.usefixtures("first_return_succeeds")
@pytest.mark.parametrize("seed", range(4))
def test_an_actor_that_ended_while_there_was_no_root_frees_its_name(seed: int) -> None:
    async def main(system: DetachedSystem, driver: Driver) -> int:
        first = await do(
            driver,
            lambda api: api.spawn(Fragile, name="one", host=1, restart=Restart.TEMPORARY),
        )
        system.crash(ROOT)
        with pytest.raises(CallboardError):
            await do(driver, lambda api: api.ask(Break(), first))
        await until(lambda: is_back(system))
        second = await do(driver, lambda api: api.spawn(Counter, name="one", host=2))
        return int((await do(driver, lambda api: api.ask(Count(), second))).n)

    assert simulate(seed, main, heartbeat_s=5.0) == 1
