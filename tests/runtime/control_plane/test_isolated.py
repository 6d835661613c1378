"""Isolated actors: each has a host of its own, which restarts and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from callboard.actors.kernel.props import props
from callboard.messages.control.hosts import ProcessOrder
from callboard.messages.control.placement import Placement, Resources
from callboard.messages.control.spec import Backoff, Restart, StopTimeout, SupervisorSpec
from callboard.messages.core.errors import (
    ActorNotFound,
    ActorStartFailed,
    ClusterError,
    HostLost,
    SpecError,
    UsageError,
)
from callboard.messages.core.ref import Ref
from callboard.messages.ports import HostProcess
from callboard.runtime.api.inside import host_of, root_of
from callboard.runtime.api.system import System
from callboard.runtime.engines.inline import InlineEngine
from callboard.runtime.hosting.settings import Settings

from ..engines import engine_fixtures as fixtures
from ..engines import fixture_actors as actors

ALONE = Placement(isolated=Resources(cpus=1.0))
AT_ONCE = SupervisorSpec(backoff=Backoff(max_s=0.0))


class Scarce(InlineEngine):
    """Has the ordered resources, or not, as the test says."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.orders: list[ProcessOrder] = []
        self.problem = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def start_process(
        self,
        number: int,
        order: ProcessOrder | None = None,
        *,
        is_standby: bool = False,
        node: str = "",
    ) -> HostProcess:
        if order is not None:
            self.orders.append(order)
            if self.problem:
                raise ClusterError(self.problem, advice="")
            if not self.gate.is_set():
                order.on_waiting("waits for the gate")
                await self.gate.wait()
        return await super().start_process(number, order, is_standby=is_standby)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[System, Scarce]]:
    settings = Settings(engine="inline", hosts=2, host_supervision=AT_ONCE, **options)
    engine = Scarce(settings)
    system = System(settings, engine)
    await system.open()
    try:
        yield system, engine
    finally:
        await system.close(5.0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110 - it may be any condition
            await asyncio.sleep(0)


async def answered(ref: Ref[Any]) -> None:
    async with asyncio.timeout(5.0):
        while True:
            try:
                assert (await ref.ask(actors.Ping(n=1))).n == 1
            except HostLost:
                continue
            return


def slot_of(system: System, ref: Ref[Any]) -> Any:
    return root_of(system).table.slots[ref.address.slot]


# --- missing resources -----------------------------------------------------------------------


async def test_resources_that_nobody_has_fail_the_spawn_and_leave_nothing() -> None:
    async with running() as (system, engine):
        engine.problem = "no node has 8 GPU"
        with pytest.raises(ClusterError, match="8 GPU"):
            await system.spawn(actors.Counter, name="big", placement=ALONE)
        assert list(root_of(system).table.slots) == [1, 2]
        engine.problem = ""
        again = await system.spawn(actors.Counter, name="big")
        assert again.address.slot in (1, 2), "the name is free again"


async def test_isolated_actor_that_does_not_start_takes_its_host_along() -> None:
    async with running() as (system, _):
        with pytest.raises(ActorStartFailed):
            await system.spawn(props(fixtures.FailingConstructor, "plain"), placement=ALONE)
        await until(lambda: list(root_of(system).table.slots) == [1, 2])


async def test_pool_of_isolated_agents_is_there_whole_or_not_at_all() -> None:
    async with running() as (system, engine):
        start_process = engine.start_process

        async def third_fails(
            number: int,
            order: ProcessOrder | None = None,
            *,
            is_standby: bool = False,
            node: str = "",
        ) -> HostProcess:
            if len(engine.orders) == 2:
                engine.problem = "no GPU left"
            return await start_process(number, order, is_standby=is_standby)

        engine.start_process = third_fails  # type: ignore[method-assign]
        with pytest.raises(ClusterError, match="no GPU left"):
            await system.pool(fixtures.Runner, size=4, isolated=Resources(gpus=1.0))
        await until(lambda: list(root_of(system).table.slots) == [1, 2])
        assert not host_of(system).directory.offers(fixtures.Errand.contract_name)


async def test_isolated_pool_needs_a_size_and_hosts_are_no_places_for_others() -> None:
    async with running() as (system, _):
        with pytest.raises(SpecError, match="0 agents"):
            await system.pool(fixtures.Runner, isolated=Resources())
        ref = await system.spawn(actors.Counter, placement=ALONE)
        with pytest.raises(UsageError, match="takes actors"):
            await system.spawn(actors.Counter, host=ref.address.slot)


# --- lifecycle ---------------------------------------------------------------------------------


async def test_isolated_actor_has_a_host_of_its_own_with_its_resources() -> None:
    wanted = Resources(cpus=2.0, gpus=1.0, node_labels={"zone": "a"})
    async with running() as (system, engine):
        ref = await system.spawn(actors.Counter, name="alone", placement=Placement(isolated=wanted))
        assert (await ref.ask(actors.WhereAreYou())).text == "alone-isolated-3"
        assert [order.resources for order in engine.orders] == [wanted]
        others = [await system.spawn(actors.Counter) for _ in range(8)]
        assert {other.address.slot for other in others} == {1, 2}
        assert host_of(system).directory.hosts == (1, 2)


async def test_killed_isolated_host_comes_back_in_a_new_process_not_a_standby() -> None:
    async with running(standbys=1) as (system, engine):
        ref = await system.spawn(actors.Counter, placement=ALONE)
        spare = root_of(system).standbys.spares[0]
        old = slot_of(system, ref).process
        await old.kill()
        await answered(ref)
        assert slot_of(system, ref).process not in (old, spare)
        assert root_of(system).standbys.spares == [spare]
        assert len(engine.orders) == 2


async def test_temporary_isolated_actor_ends_with_its_process() -> None:
    async with running() as (system, _):
        ref = await system.spawn(actors.Counter, placement=ALONE, restart=Restart.TEMPORARY)
        await slot_of(system, ref).process.kill()
        await until(lambda: list(root_of(system).table.slots) == [1, 2])
        with pytest.raises(HostLost):
            await ref.ask(actors.Ping(n=1))


async def test_isolated_host_that_waits_says_why_and_comes_up_when_it_can() -> None:
    async with running() as (system, engine):
        ref = await system.spawn(actors.Counter, placement=ALONE)
        engine.gate.clear()
        await slot_of(system, ref).process.kill()
        await until(lambda: len(engine.orders) == 2)
        view = await system.view()
        assert [host.problem for host in view.hosts if host.slot == 3] == ["waits for the gate"]
        engine.gate.set()
        await answered(ref)


async def test_isolated_host_is_tried_again_until_its_resources_are_back() -> None:
    async with running() as (system, engine):
        ref = await system.spawn(actors.Counter, placement=ALONE)
        engine.problem = "none of 1 living nodes has the labels zone=a"
        await slot_of(system, ref).process.kill()
        await until(lambda: len(engine.orders) > 3)
        view = await system.view()
        assert [host.problem for host in view.hosts if host.slot == 3] == [engine.problem]
        engine.problem = ""
        await answered(ref)


@pytest.mark.parametrize("how", ["stopped", "ends"])
async def test_host_ends_with_its_actor(how: str) -> None:
    async with running() as (system, engine):
        recorder = await system.spawn(actors.EventRecorder)
        ref = await system.spawn(props(fixtures.Person, recorder, "p"), placement=ALONE)
        process = slot_of(system, ref).process
        if how == "stopped":
            await system.stop(ref)
        else:
            ref.tell(fixtures.Leave())
        await until(lambda: list(root_of(system).table.slots) == [1, 2])
        heard = await recorder.ask(actors.Expect(prefix="p stopping"))
        assert len(heard.events) == 1
        await until(lambda: process not in engine._processes)


async def test_stop_while_its_process_starts_leaves_no_process() -> None:
    async with running() as (system, engine):
        processes = len(engine._processes)
        engine.gate.clear()
        spawn = asyncio.ensure_future(system.spawn(actors.Counter, placement=ALONE))
        await until(lambda: bool(engine.orders))
        await root_of(system).isolated.remove(root_of(system).table.slots[3])
        with pytest.raises(HostLost):
            await spawn
        assert len(engine._processes) == processes
        assert list(root_of(system).table.slots) == [1, 2]


async def test_isolated_actor_that_hangs_is_killed_after_its_own_stop_timeout() -> None:
    async with running() as (system, _):
        recorder = await system.spawn(actors.EventRecorder)
        ref = await system.spawn(actors.Hanger, placement=ALONE, stop_timeout=StopTimeout.KILL)
        ask = asyncio.ensure_future(ref.ask(actors.Hang(recorder=recorder, label="h")))
        await recorder.ask(actors.Expect(prefix="h started"))
        await system.stop(ref)
        with pytest.raises(HostLost):
            await ask


async def test_isolated_agents_are_offered_together() -> None:
    async with running() as (system, engine):
        parts = (await system.pool(fixtures.Runner, size=3, isolated=Resources(gpus=1.0))).refs
        assert len(parts) == 3
        assert len(engine.orders) == 3
        replies = [await system.ask(fixtures.Errand()) for _ in range(6)]
        assert {reply.text for reply in replies} == {f"Runner-isolated-{n}" for n in (3, 4, 5)}


async def test_a_pool_of_isolated_agents_takes_and_gives_hosts() -> None:
    async with running() as (system, _):
        table = root_of(system).table
        recorder = await system.spawn(actors.EventRecorder)
        pool = await system.pool(fixtures.Worker, size=2, isolated=Resources(gpus=1.0))
        held = [
            asyncio.ensure_future(
                pool.ask(fixtures.Hold(recorder=recorder, label=f"h{n}", go="go"), timeout_s=60.0)
            )
            for n in range(4)
        ]
        await recorder.ask(actors.Expect(prefix="h", count=2))
        await pool.resize(1)
        assert (pool.size, len(pool.refs)) == (1, 1)
        assert len(table.slots) == 4, "an agent that goes finishes first"
        recorder.tell(actors.Event(text="go"))
        await asyncio.gather(*held)
        await until(lambda: len(table.slots) == 3)
        await pool.resize(4)
        assert len(table.slots) == 6
        replies = await asyncio.gather(*(pool.ask(actors.Ping(n=n)) for n in range(20)))
        assert [reply.n for reply in replies] == list(range(20))
        await pool.stop()
        await until(lambda: len(table.slots) == 2)


async def test_thirty_isolated_hosts_leave_nothing_behind_on_any_host() -> None:
    async with running() as (system, engine):
        relayers = [await system.spawn(actors.Relayer, host=host) for host in (1, 2)]
        processes = len(engine._processes)
        refs: list[Ref[Any]] = []
        for _ in range(30):
            ref = await system.spawn(actors.Counter, name="one", placement=ALONE)
            refs.append(ref)
            for relayer in relayers:
                await relayer.ask(actors.Relay(to=ref, n=1))
            await system.stop(ref)
        table, root = root_of(system).table, root_of(system)
        assert list(table.slots) == [1, 2]
        assert len(root.isolated.supervisor.core) == 0
        for leftover in (
            root.isolated._starts, root.isolated._waiting, root.isolated._gone,
            root.isolated._failures, root.isolated._ended, root.hosting._prepared,
        ):  # fmt: skip
            assert not leftover
        assert len(engine._processes) == processes
        hosts = [host_of(system), *(slot.process.host for slot in table.slots.values())]
        await until(lambda: all(max(host.links, default=0) <= 2 for host in hosts))
        with pytest.raises(ActorNotFound):
            await system.stop(refs[-1])
        with pytest.raises(HostLost, match="ended"):
            await relayers[0].ask(actors.Relay(to=refs[-1], n=1))


async def test_isolated_hosts_stop_before_the_others_newest_first() -> None:
    ended: list[str] = []
    async with running() as (system, _):
        recorder = await system.spawn(actors.EventRecorder, host=1)
        for name in "ab":
            await system.spawn(props(fixtures.Person, recorder, name), placement=ALONE)
        bring_down = root_of(system).hosting.bring_down

        async def noted(slot: Any, *how: Any, **options: Any) -> Any:
            ended.append(slot.name)
            return await bring_down(slot, *how, **options)

        root_of(system).hosting.bring_down = noted  # type: ignore[method-assign]
    assert ended == ["Person-isolated-4", "Person-isolated-3", "host-2", "host-1"]
